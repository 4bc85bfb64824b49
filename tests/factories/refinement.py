"""Refinements of simulated particles in this process, and how far they are from the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy.spatial.transform import Rotation

from relion_mpi.compare.frame import pose_errors_deg
from relion_mpi.fourier.correlation import fourier_shell_correlation
from relion_mpi.geometry.euler import euler_to_matrix, matrix_to_euler
from relion_mpi.geometry.symmetry import point_group
from relion_mpi.io.mrc import read_map
from relion_mpi.io.star import read_star, write_star
from relion_mpi.parallel.inline import InlineCrew
from relion_mpi.refine.class2d_options import Class2DOptions
from relion_mpi.refine.class3d_options import Class3DOptions
from relion_mpi.refine.options import RefineOptions
from relion_mpi.refine.refinement import Refinement
from relion_mpi.refine.start import make_start
from relion_mpi.refine.worker import RefineWorker
from relion_mpi.simulate.options import SimulateOptions
from relion_mpi.simulate.particle_set import simulate


class LastRecords:
    """An output writer that keeps the last record."""

    def __init__(self):
        self.last = None

    def submit(self, record):
        self.last = record

    def check(self):
        pass

    def wait(self):
        pass


@dataclass(frozen=True)
class Refined:
    """What a refinement ended with."""

    record: Any
    particles: Any
    sym: str

    @property
    def halves(self):
        return self.record.model.halves

    @property
    def model(self):
        return self.record.model

    @property
    def converged(self):
        return self.record.iteration is None

    @property
    def joined(self):
        return np.squeeze(self.record.joined_map)

    @property
    def resolution_angst(self):
        return 1 / self.record.model.current_resolution


def particle_set(folder, **changes):
    """Simulate particles: files in a folder."""
    values = {"n": 240, "box": 40, "angpix": 5.0, "sym": "D2", "snr": 0.5, "seed": 1}
    return simulate(SimulateOptions(o=folder, **(values | changes)))


def refine(made, *, sym="D2", particles=None, **changes):
    """Refine in this process; nothing is written."""
    values = {
        "i": particles or made.particles, "o": made.particles.parent / "out" / "run",
        "ref": made.reference, "sym": sym, "random_seed": 1, "ini_high": 40.0,
    }  # fmt: skip
    return run_of(RefineOptions(**(values | changes)))


def classify(made, *, particles=None, **changes):
    """Classify in this process; nothing is written."""
    values = {
        "i": particles or made.particles, "o": made.particles.parent / "out" / "run",
        "ref": made.reference, "random_seed": 1, "ini_high": 40.0,
    }  # fmt: skip
    return run_of(Class3DOptions(**(values | changes)))


def classify_images(folder, **changes):
    """Classify images without references in this process; nothing is written."""
    values = {
        "i": folder / "particles.star", "o": folder / "out" / "run", "random_seed": 1,
    }  # fmt: skip
    return run_of(Class2DOptions(**(values | changes)))


def run_of(options):
    start = make_start(options)
    crew, writer = InlineCrew(RefineWorker()), LastRecords()
    try:
        Refinement(start, crew, writer, f"relion-mpi {options.command}").run()
    finally:
        crew.close()
    return Refined(writer.last, start.particles, options.sym)


def true_table(made):
    return read_star(made.truth)["particles"]


ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
LOCAL = {
    "healpix_order": 5, "offset_range": 2.0, "offset_step": 1.0, "firstiter_cc": False,
    "ini_high": 25.0, "auto_iter_max": 4,
}  # fmt: skip
"""Searches are local from the first iteration; a few seconds."""


def near_truth(made, *, angle_deg=1.5, offset_angst=2.0, seed=0):
    """Write a table whose poses are off by normal errors; its name."""
    blocks = read_star(made.truth)
    table = blocks["particles"]
    rng = np.random.default_rng(seed)
    true = euler_to_matrix(*(table[name].to_numpy() for name in ANGLES))
    errors = Rotation.from_rotvec(rng.normal(0, np.radians(angle_deg), (len(true), 3)))
    values = dict(zip(ANGLES, matrix_to_euler(errors.as_matrix() @ true).T, strict=True))
    for name in ("rlnOriginXAngst", "rlnOriginYAngst"):
        values[name] = table[name].to_numpy() + rng.normal(0, offset_angst, len(true))
    table = table.with_columns(pl.Series(name, column) for name, column in values.items())
    path = made.truth.with_name("near_truth.star")
    write_star(path, {**blocks, "particles": table})
    return path


def angle_errors_deg(made, refined):
    """Angle of the rotation between found and true poses, at the nearest symmetry mate.

    Maps are told apart by their own frame: none is fitted.
    """
    truth = true_table(made)
    true = euler_to_matrix(*(truth[name].to_numpy() for name in ANGLES))
    p = refined.particles
    found = euler_to_matrix(p.rot_deg, p.tilt_deg, p.psi_deg)
    operators = point_group(refined.sym).operators
    return pose_errors_deg(np.swapaxes(true, 1, 2) @ found, np.eye(3), operators)[0]


def offset_errors_angst(made, refined):
    truth = true_table(made)
    names = ("rlnOriginXAngst", "rlnOriginYAngst")
    true = np.stack([truth[name].to_numpy() for name in names], axis=1)
    return np.linalg.norm(refined.particles.origin_angst - true, axis=1)


def fsc_with_truth(made, volume, class_index=0):
    truth, _ = read_map(made.maps[class_index])
    return fourier_shell_correlation(np.asarray(volume, np.float64), truth)


def half_map_fsc(refined):
    """FSC of the unregularised half-maps, not joined at low resolution."""
    first, second = refined.record.unfiltered
    return fourier_shell_correlation(np.squeeze(first), np.squeeze(second))
