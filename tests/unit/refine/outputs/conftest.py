"""A small record: box 16, two half-sets, two scale groups, HEALPix order 0."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from relion_mpi.geometry.symmetry import point_group
from relion_mpi.model.state import Accuracy, HalfModel, Model
from relion_mpi.refine.class3d_options import Class3DOptions
from relion_mpi.refine.class_schedule import ClassSchedule
from relion_mpi.refine.options import RefineOptions
from relion_mpi.refine.record import IterationRecord
from relion_mpi.refine.schedule import Schedule
from relion_mpi.sampling.orientations import make_orientation_grid

BOX, PIXEL_SIZE, N_SHELL, N_DIR = 16, 3.0, 9, 12


def make_half(seed, n_class=1):
    rng = np.random.default_rng(seed)
    spectrum = np.exp(-np.arange(N_SHELL))
    return HalfModel(
        maps=rng.normal(size=(n_class, BOX, BOX, BOX)),
        sigma2_noise=rng.uniform(1e-4, 1e-3, (2, N_SHELL)),
        scale=np.array([0.9, 1.1]),
        avg_norm=0.75,
        pdf_class=np.full(n_class, 1 / n_class),
        pdf_direction=rng.dirichlet(np.ones(N_DIR), n_class) / n_class,
        sigma2_offset_angst2=16.0,
        tau2=np.tile(1.5e-8 * spectrum, (n_class, 1)),
        sigma2=np.tile(2e-9 * spectrum, (n_class, 1)),
        data_vs_prior=np.tile([np.inf, 999.0, 50.0, 20.0, 2.0, 0.5, 3.0, 0.0, 0.0], (n_class, 1)),
        coverage=np.tile([1.0, 1.0, 0.9, 0.8, 0.7, 0.1, 0.0, 0.0, 0.0], (n_class, 1)),
        fsc=np.linspace(1, 0, N_SHELL),
        optics_particles=np.array([20.0, 0.0]),
        group_particles=np.array([12, 8]),
        orientability=np.full((n_class, N_SHELL), 1 / N_SHELL),
        log_likelihood=29157420.5,
        ave_pmax=0.36,
    )


def make_model(n_half, n_class=1):
    return Model(
        box_size=BOX,
        pixel_size_angst=PIXEL_SIZE,
        padding=2,
        halves=[make_half(seed, n_class) for seed in range(n_half)],
        current_resolution=1 / 12.0,
        current_size=14,
        accuracy=Accuracy(np.full(n_class, 2.5), np.full(n_class, 0.9)),
    )


def make_tables():
    optics = pl.DataFrame(
        {"rlnOpticsGroup": [1, 2], "rlnOpticsGroupName": ["a", "b"], "rlnVoltage": [300.0, 300.0]}
    )
    particles = pl.DataFrame(
        {
            "rlnImageName": ["000001@p.mrcs", "000002@p.mrcs"],
            "rlnOpticsGroup": [1, 1],
            "rlnAngleRot": [12.5, -170.25],
        }
    )
    return {"optics": optics, "particles": particles}


@pytest.fixture
def make_record(tmp_path):
    """Make a record; keywords replace its fields."""

    def make(*, n_half=2, n_class=1, iteration=3, **changes):
        schedule = Schedule(
            healpix_order=0, oversampling=1, offset_range_angst=9.0, offset_step_angst=6.0,
            perturbation_factor=0.5, local_order=4, perturbation=-0.245, best_resolution=0.08,
        )  # fmt: skip
        record = IterationRecord(
            root=tmp_path / "job" / "run",
            iteration=iteration,
            options=RefineOptions(i=Path("p.star"), o=Path("run"), ref=Path("ref.mrc")),
            model=make_model(n_half, n_class),
            schedule=schedule,
            orientations=make_orientation_grid(0, point_group("C1")),
            tables=make_tables(),
            group_names=("micrographs/a.mrc", "micrographs/b.mrc"),
            optics_names=("a", "b"),
            command_line="relion-mpi refine3d --i p.star --o run",
            timings={"expectation": 1.5},
        )
        return dataclasses.replace(record, **changes)

    return make


@pytest.fixture
def make_class_record(make_record):
    """Make the record of a classification; keywords are options."""

    def make(*, n_class=2, iteration=3, **options):
        return make_record(
            n_half=1, n_class=n_class, iteration=iteration,
            options=Class3DOptions(
                i=Path("p.star"), o=Path("run"), ref=Path("ref.mrc"), K=n_class, **options
            ),
            schedule=ClassSchedule(
                healpix_order=0, oversampling=1, offset_range_angst=9.0, offset_step_angst=6.0,
                perturbation_factor=0.5, local_order=99,
            ),
        )  # fmt: skip

    return make
