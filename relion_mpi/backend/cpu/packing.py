"""Between whole padded grids and the rows of `relion_mpi.fourier.half_ball`."""

from __future__ import annotations

import numba


@numba.njit(cache=True)
def pack(volumes, size, starts):  # type: ignore[no-untyped-def]
    """Move the rows' voxels to the front of all volumes' memory, one volume after the other.

    Nothing else is as large as the sums, so they get no copy. What is moved lies behind where it
    goes to.

    Parameters
    ----------
    volumes : real (n, size * size * (size // 2 + 1) * 3), overwritten
    size : side of a volume
    starts : int64 (size * size + 1,)

    Returns
    -------
    real (n, n_kept, 3), a view
    """
    flat = volumes.reshape(-1)
    row, to = 3 * (size // 2 + 1), 0
    for n in range(volumes.shape[0]):
        for line in range(size * size):
            begin = (n * size * size + line) * row
            length = 3 * (starts[line + 1] - starts[line])
            for j in range(length):
                flat[to + j] = flat[begin + j]
            to += length
    return flat[:to].reshape(volumes.shape[0], starts[-1], 3)


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
