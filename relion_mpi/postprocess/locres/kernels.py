"""Passes over the transform of a window, in one sweep and without the GIL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@numba.njit(cache=True, nogil=True)
def add_powers(
    first: NDArray[np.complex64],
    second: NDArray[np.complex64],
    shells: NDArray[np.int16],
    powers: NDArray[np.float64],
) -> None:
    """Sum products of two transforms by shell.

    Parameters
    ----------
    first, second : complex64 (m,)
    shells : int16 (m,)
    powers : float64 (3, n_shell)
        Re(a conj(b)), |a|^2 and |b|^2 are added.
    """
    for i in range(shells.size):
        a, b, shell = first[i], second[i], shells[i]
        powers[0, shell] += a.real * b.real + a.imag * b.imag
        powers[1, shell] += a.real * a.real + a.imag * a.imag
        powers[2, shell] += b.real * b.real + b.imag * b.imag


@numba.njit(cache=True, nogil=True)
def scale_by_squared_radius(
    transform: NDArray[np.complex64], squared: NDArray[np.int32], factor: NDArray[np.float32]
) -> None:
    """Multiply a transform in place by a table over squared radii.

    Parameters
    ----------
    transform : complex64 (m,)
    squared : int32 (m,)
    factor : float32 (n_squared,)
    """
    for i in range(squared.size):
        transform[i] *= factor[squared[i]]


@numba.njit(cache=True, nogil=True)
def add_window(
    mask: NDArray[np.float32],
    filtered: NDArray[np.float32],
    frequency: float,
    corner: NDArray[np.int64],
    totals: NDArray[np.float32],
) -> None:
    """Add a window, weighted by its mask, to the whole; what lies outside of it is left out.

    Parameters
    ----------
    mask, filtered : float32 (m, m, m)
    frequency
        Local resolution, 1 / Angstrom.
    corner : int64 (3,)
        Voxel (z, y, x) of the whole at which the window begins; may be negative.
    totals : float32 (3, n, n, n)
        Sums of the mask, of mask * frequency and of mask * filtered.
    """
    m, n = mask.shape[0], totals.shape[1]
    for z in range(max(0, -corner[0]), min(m, n - corner[0])):
        for y in range(max(0, -corner[1]), min(m, n - corner[1])):
            for x in range(max(0, -corner[2]), min(m, n - corner[2])):
                weight = mask[z, y, x]
                if weight > 0:
                    at_z, at_y, at_x = corner[0] + z, corner[1] + y, corner[2] + x
                    totals[0, at_z, at_y, at_x] += weight
                    totals[1, at_z, at_y, at_x] += weight * frequency
                    totals[2, at_z, at_y, at_x] += weight * filtered[z, y, x]
