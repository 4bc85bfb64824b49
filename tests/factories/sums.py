"""Fourier sums of projections of a known map, made by plain numpy loops over samples."""

from __future__ import annotations

import numpy as np

from factories.maps import blob_map
from factories.pixels import geometry, images_from, no_optics
from factories.poses import random_matrices, sums_at
from relion_mpi.backend import select_backend, select_volumes
from relion_mpi.backend.volumes import FourierSums
from relion_mpi.fourier.half_ball import is_kept, n_kept


def random_sums(box=12, r_max=6, seed=0, padding=2):
    """Sums with random data and positive weights within reach."""
    rng = np.random.default_rng(seed)
    size = 2 * (padding * r_max + 1) + 1
    shape = (size, size, size // 2 + 1)
    data = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    sums = FourierSums(
        data, rng.uniform(0.5, 1.5, shape), box, r_max, padding, select_volumes("cpu")
    )
    outside = sums.radius2() > sums.reach**2
    sums.data[outside] = 0
    sums.weight[outside] = 0
    return sums


def projected_sums(box=24, n=400, seed=1, *, noise=0.0, operators=None):
    """Sums of one map's projections at random poses: (map, FourierSums)."""
    backend = select_backend("cpu", "float64")
    volume = blob_map(box, 2, spread=0.15)
    pixels, matrices = geometry(box), random_matrices(n, seed)
    values = backend.project(backend.load_references(volume[None], box // 2, 2), matrices, pixels)
    images = images_from(values, pixels.x, pixels.y, box)
    images = images + noise * np.random.default_rng(seed + 1).normal(size=images.shape)
    total = None
    for start in range(0, n, 50):  # a pose of n allows n shifts: keep n * n small
        rows = slice(start, start + 50)
        host = sums_at(
            backend, images[rows], matrices[rows], np.zeros((len(images[rows]), 2)), pixels,
            no_optics(len(images[rows])),
        )  # fmt: skip
        total = host.volume[0] if total is None else total + host.volume[0]
    return volume, select_volumes("cpu").upload(total, box, box // 2, 2).sums


def packed(volume):
    """Rows of the half ball of a whole grid (size, size, size // 2 + 1, ...)."""
    return volume[is_kept(len(volume))]


def whole(rows):
    """Whole grid of rows of the half ball; their number tells its size."""
    size = next(size for size in range(3, 301, 2) if n_kept(size) == len(rows))
    grid = np.zeros((size, size, size // 2 + 1, *rows.shape[1:]), rows.dtype)
    grid[is_kept(size)] = rows
    return grid


def interleaved(sums):
    """Sums on a whole grid, float64 (..., 3) of real, imaginary, weight."""
    return np.stack([sums.data.real, sums.data.imag, sums.weight], axis=-1)
