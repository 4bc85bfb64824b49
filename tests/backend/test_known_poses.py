"""Sums at known poses are those of an E-step whose prior allows nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from factories.optics import optics_groups
from factories.pixels import no_optics
from factories.plans import BOX, batch
from factories.poses import sums_at

from relion_mpi.backend import select_backend
from relion_mpi.estep.geometry import ctf_parameters, image_geometry
from relion_mpi.estep.known_poses import KnownPoses, PosedPlan, power_of_two
from relion_mpi.estep.plan import ImageOptions
from relion_mpi.geometry.euler import euler_to_matrix
from relion_mpi.optics.ctf import ctf_coefficients

PIXEL, N, R_MAX = 3.0, 20, BOX // 2
VARIANCE = power_of_two(1 / (2 * BOX**2))
OPTICS = optics_groups((BOX,), (PIXEL,))


def particles():
    rng = np.random.default_rng(6)
    images = rng.normal(0.3, 1.0, (N, BOX, BOX)).astype(np.float32)
    return replace(batch(N, 5), origin_angst=rng.uniform(-9, 9, (N, 2))), images


def plan(variance=VARIANCE, n_half=1):
    options = ImageOptions(80.0, correct_norm=False, correct_scale=False)
    return PosedPlan(BOX, PIXEL, 2, R_MAX, OPTICS, options, variance, 1.0, N, n_half)


def volumes(backend, made, parts, *, halves=None):
    poses = KnownPoses(backend, made)
    mine, images = particles()
    for rows in parts:
        half = 0 if halves is None else int(halves[rows[0]])
        one = replace(mine.part(np.asarray(rows)), half=half)
        poses.add(poses.prepare(one, images[rows]))
    return [made.variance * np.asarray(one[0], np.float64) for one in poses.volumes()]


def expected():
    """Sums of the E-step in double precision, whose shifts are the whole offsets."""
    mine, images = particles()
    pixels = image_geometry(OPTICS, 0, BOX, PIXEL, 2 * R_MAX, 2 * R_MAX)
    optics = no_optics(N, ctf_coefficients=ctf_coefficients(ctf_parameters(OPTICS, mine)))
    return sums_at(
        select_backend("cpu", "float64"), images - images.mean(axis=(1, 2), keepdims=True),
        euler_to_matrix(*mine.euler_deg.T), mine.origin_angst / PIXEL, pixels, optics,
    ).volume[0]  # fmt: skip


def test_sums_are_those_of_the_e_step(backend, eps):
    found = volumes(backend, plan(), [np.arange(N)])[0]
    truth = expected()
    # What is added is rounded to steps of 2^-36 here, some hundred additions a voxel; means are
    # taken out in single precision.
    for columns, least in ((slice(2, 3), 1e-9), (slice(2), 1e-6)):
        error = np.abs(found[:, columns] - truth[:, columns]).max()
        assert error < max(1e3 * eps, least) * np.abs(truth[:, columns]).max()


def test_parts_of_a_batch_and_half_sets_add_up(deterministic):
    """To the last bit, however particles are dealt out."""
    if deterministic.precision == "tf32":
        pytest.skip("reconstruction is not offered in TF32")
    whole = volumes(deterministic, plan(), [np.arange(N)])[0]
    order = np.random.default_rng(1).permutation(N)
    parts = [order[:7], order[7:8], order[8:]]
    np.testing.assert_array_equal(volumes(deterministic, plan(), parts)[0], whole)
    halves = np.arange(N) % 2
    rows = [np.flatnonzero(halves == h) for h in (0, 1)]
    both = volumes(deterministic, plan(n_half=2), rows, halves=halves)
    np.testing.assert_array_equal(both[0] + both[1], whole)


def test_the_variance_only_sets_the_steps(backend):
    """Sums are multiplied by it at the end; a power of two changes no digit above the steps."""
    one = volumes(backend, plan(), [np.arange(N)])[0]
    other = volumes(backend, plan(1.0), [np.arange(N)])[0]
    np.testing.assert_allclose(other, one, atol=1e-6 * np.abs(one).max())


@pytest.mark.parametrize(("variance", "expected"), [(0.3, 0.25), (1.0, 1.0), (5.0, 4.0), (0.0, 1)])
def test_powers_of_two(variance, expected):
    assert power_of_two(variance) == expected
