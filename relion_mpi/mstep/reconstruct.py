"""Maps from Fourier sums: regularised division, or iterative gridding."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft, special

from relion_mpi.fourier.masks import mask_outside_to_mean, sinc_squared
from relion_mpi.mstep.voxels import add_prior, divide, mean_weight

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.mstep.grid import FourierSums

MIN_SHELL_REGULARISED = 5
"""Shells below this one get no prior (RELION's --minres_map)."""
WEIGHT_FLOOR = 1000.0
"""Weights are not let below the shell's mean divided by this."""
GRIDDING_ITERATIONS = 10
BLOB_RADIUS, BLOB_ALPHA = 3.8, 15.0
BLOB_ENTRIES = 10000
MAP_EDGE_PIX = 3.0


def reconstruct(
    sums: FourierSums,
    tau2: NDArray[np.float64] | None,
    *,
    skip_gridding: bool = True,
    min_shell: int = MIN_SHELL_REGULARISED,
    gridding_iterations: int = GRIDDING_ITERATIONS,
) -> NDArray[np.float64]:
    """Reconstruct a map.

    Parameters
    ----------
    sums
        Symmetrised data and weights; not changed.
    tau2 : float64 (n_shell,) or None
        Prior variance per shell (RELION's T included); None for no regularisation.
    skip_gridding
        Divide by the weights once (RELION 5's default) instead of iterating.
    min_shell
        First shell that is regularised.
    gridding_iterations
        Number of iterations without skip_gridding.

    Returns
    -------
    float64 (box_size, box_size, box_size)

    Source
    ------
    RELION BackProjector::reconstruct; Scheres 2012, J. Struct. Biol. 180:519.
    """
    weight = sums.weight.copy()
    if tau2 is not None:
        add_prior(
            weight, tau2, sums.reach, sums.padding, sums.oversampling_correction, min_shell
        )
    if skip_gridding:
        floor = mean_weight(weight, sums.reach, sums.padding, sums.r_max) / WEIGHT_FLOOR
        transform = divide(sums.data, weight, floor, sums.reach, sums.padding)
    else:
        radius2 = sums.radius2()
        transform = _gridded(sums, weight, radius2, gridding_iterations)
        transform[radius2 > sums.reach**2] = 0.0
    return _to_real_space(transform, sums)


@lru_cache(maxsize=1)
def _blob_table() -> NDArray[np.float64]:
    """Tabulate the Fourier transform of the Kaiser-Bessel blob, relative to its value at 0."""
    spacing = 0.5 / BLOB_ENTRIES
    w = np.arange(BLOB_ENTRIES) * spacing
    argument = 2 * np.pi * BLOB_RADIUS * w
    sigma = np.sqrt(np.abs(BLOB_ALPHA**2 - argument**2))
    bessel = np.where(argument <= BLOB_ALPHA, special.iv(1.5, sigma), special.jv(1.5, sigma))
    value = bessel / np.maximum(sigma, 1e-12) ** 1.5
    relative: NDArray[np.float64] = value / value[0]
    return relative


def _blob_kernel(size: int, box_size: int, padding: int) -> NDArray[np.float64]:
    """Evaluate the blob's transform on a wrapped odd grid, float64 (size,) * 3."""
    index = np.arange(size)
    wrapped = np.where(index < size / 2, index, index - size).astype(np.float64) ** 2
    radius = np.sqrt(wrapped[:, None, None] + wrapped[:, None] + wrapped)
    entry = (radius / (box_size * padding) / (0.5 / BLOB_ENTRIES)).astype(np.int64)
    table = np.append(_blob_table(), 0.0)
    return table[np.minimum(entry, BLOB_ENTRIES)]


def _gridded(
    sums: FourierSums, weight: NDArray[np.float64], radius2: NDArray[np.int64], iterations: int
) -> NDArray[np.complex128]:
    """Iterate weights whose convolution with the blob is flat; return data times weights."""
    size = sums.data.shape[0]
    kernel = _blob_kernel(size, sums.box_size, sums.padding)
    inner = fft.ifftshift(radius2 < sums.reach**2, axes=(0, 1))
    target = fft.ifftshift(np.where(radius2 <= sums.reach**2, weight, 0.0), axes=(0, 1))
    factor = inner.astype(np.float64)
    for _ in range(iterations):
        real = fft.irfftn(factor * target, s=kernel.shape, workers=-1)
        real *= kernel
        convolved = np.abs(fft.rfftn(real, workers=-1))
        factor = np.where(inner, factor / np.maximum(convolved, 1e-6), factor)
    product: NDArray[np.complex128] = sums.data * fft.fftshift(factor, axes=(0, 1))
    return product


def _to_real_space(transform: NDArray[np.complex128], sums: FourierSums) -> NDArray[np.float64]:
    """Invert a padded transform, crop the box, mask its corners, undo the interpolation."""
    box, padding = sums.box_size, sums.padding
    big = padding * box
    # An even grid has one Nyquist plane, the positive one.
    low, high = min(sums.reach, big // 2 - 1), min(sums.reach, big // 2)
    origin = transform.shape[0] // 2
    index = np.arange(-low, high + 1)
    kept = slice(origin - low, origin + high + 1)
    even = np.zeros((big, big, big // 2 + 1), np.complex128)
    even[np.ix_(index % big, index % big, np.arange(high + 1))] = transform[kept, kept, : high + 1]
    real = fft.irfftn(even, s=(big, big, big), workers=-1, overwrite_x=True)
    del even
    start = big // 2 - box // 2
    middle = slice(start, start + box)
    volume = fft.fftshift(real)[middle, middle, middle] * float(box) ** 2
    volume = mask_outside_to_mean(volume, box / 2, MAP_EDGE_PIX)
    return volume / sinc_squared(box, padding, 3)
