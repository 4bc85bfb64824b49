"""Poses, and sums of particles whose poses are known."""

from __future__ import annotations

import numpy as np

from relion_mpi.backend.protocol import ImageMask, Likelihood, LocalPrior, Quanta, SearchGrid
from relion_mpi.estep.quanta import step_for
from relion_mpi.geometry.euler import euler_to_matrix


def random_eulers(n, seed=0):
    """Uniform rotations as rot, tilt, psi in degrees, (n, 3)."""
    rng = np.random.default_rng(seed)
    tilt = np.degrees(np.arccos(rng.uniform(-1, 1, n)))
    return np.stack([rng.uniform(-180, 180, n), tilt, rng.uniform(-180, 180, n)], axis=1)


def random_matrices(n, seed=0):
    return euler_to_matrix(*random_eulers(n, seed).T)


def listed_grid(matrices, shifts_pix):
    """A grid whose orientations and shifts are those listed, without oversampling."""
    psi = np.zeros(1)
    return SearchGrid(matrices, psi, matrices, psi, shifts_pix, shifts_pix)


def no_mask(box):
    return ImageMask(2.0 * box, 5.0)


def quanta_for(bound):
    """Rounding steps for sums whose voxels stay below a thousand times a bound."""
    return Quanta(step_for(bound), step_for(bound), step_for(bound))


def in_plane_matrices(n, seed=0):
    """Random rotations of 2D references."""
    return euler_to_matrix(0, 0, np.random.default_rng(seed).uniform(-180, 180, n))


def sums_at(
    backend, images, matrices, shifts_pix, geometry, optics, *, padding=2, planar=False
):  # fmt: skip
    """Back-project images (n, box, box) at one known pose each, noise variance 1.

    The pose of an image is the only one its prior allows, so any backend can do it.
    """
    n, box, _ = images.shape
    r_max = geometry.n_shell - 1
    grid = listed_grid(matrices, shifts_pix)
    log_shift = np.full((n, n), -np.inf)
    np.fill_diagonal(log_shift, 0.0)
    prior = LocalPrior(np.arange(n + 1), np.arange(n), np.zeros(n), log_shift)
    likelihood = Likelihood("gauss", np.ones(geometry.n_shell), 0.999)
    nothing = np.zeros((1, box, box) if planar else (1, box, box, box))
    references = backend.load_references(nothing, r_max, padding)
    moved = np.zeros((n, 2), np.int64)
    handle = backend.prepare(
        images.astype(np.float32), moved, np.ones(n), no_mask(box), geometry, optics
    )
    sums = backend.new_sums(1, n, r_max, padding, quanta_for(0.01 * n), planar=planar)
    candidates = backend.search_local(handle, references, grid, prior, likelihood)
    posterior, best = backend.search_fine(handle, references, grid, candidates, likelihood)
    assert np.array_equal(best.fine_direction, np.arange(n))
    assert np.array_equal(best.fine_shift, np.arange(n))
    backend.accumulate(handle, references, grid, posterior, likelihood, sums)
    return backend.fetch_sums(sums)
