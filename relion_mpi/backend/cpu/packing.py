"""Between whole padded grids and the rows of `relion_mpi.fourier.half_ball`."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, parallel=True)
def pack(volume, starts):  # type: ignore[no-untyped-def]
    """Keep the rows' voxels.

    Parameters
    ----------
    volume : real (size, size, size // 2 + 1, 3)
    starts : int64 (size * size + 1,)

    Returns
    -------
    real (n_kept, 3)
    """
    size = volume.shape[0]
    out = np.empty((starts[-1], 3), volume.dtype)
    for z in numba.prange(size):
        for y in range(size):
            first, last = starts[z * size + y], starts[z * size + y + 1]
            for x in range(last - first):
                for j in range(3):
                    out[first + x, j] = volume[z, y, x, j]
    return out


@numba.njit(cache=True, parallel=True)
def unpack(packed, starts, data, weight):  # type: ignore[no-untyped-def]
    """Spread the rows over a whole grid, in place; zeros elsewhere.

    Parameters
    ----------
    packed : real (n_kept, 3) of (real, imaginary, weight)
    starts : int64 (size * size + 1,)
    data : complex128 (size, size, size // 2 + 1)
    weight : float64, same shape
    """
    size, _, half = data.shape
    for z in numba.prange(size):
        for y in range(size):
            first, last = starts[z * size + y], starts[z * size + y + 1]
            for x in range(half):
                if x < last - first:
                    data[z, y, x] = packed[first + x, 0] + 1j * packed[first + x, 1]
                    weight[z, y, x] = packed[first + x, 2]
                else:
                    data[z, y, x] = 0.0
                    weight[z, y, x] = 0.0
