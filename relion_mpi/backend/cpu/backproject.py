"""Scatter of slices into padded volumes or planes, by slabs so that threads never collide."""

from __future__ import annotations

import numba
import numpy as np

from relion_mpi.backend.cpu.project import ON_THE_EDGE

U1, U2, U3, U4, U5 = (np.uint64(n) for n in range(1, 6))
MAGIC = 1.5 * 2.0**52
"""Added to and taken from a float64, this times a step rounds it to a multiple of the step."""
EXACT = {"contract", "nsz"}
"""fastmath flags that keep (x + magic) - magic what it says."""


@numba.njit(cache=True, fastmath=EXACT, inline="always")
def add_pair(volume, base, share, near, far, of_data, of_weight):  # type: ignore[no-untyped-def]
    """Add a share of two x neighbours' (re, im, weight), rounded, to interleaved voxels."""
    volume[base] += (share * near[0] + of_data) - of_data
    volume[base + U1] += (share * near[1] + of_data) - of_data
    volume[base + U2] += (share * near[2] + of_weight) - of_weight
    volume[base + U3] += (share * far[0] + of_data) - of_data
    volume[base + U4] += (share * far[1] + of_data) - of_data
    volume[base + U5] += (share * far[2] + of_weight) - of_weight


@numba.njit(cache=True, fastmath=EXACT)
def place(rows, sx, sy, size, reach, low, high, values, weight, share, index, plane, work):  # type: ignore[no-untyped-def]
    """List the pixels of a slice that touch planes low .. high - 1.

    index gets their first corners, plane its z, work (6, n_pix) the fractions in x, y and z and
    the values (re, im, weight) to add there. Returns how many there are.
    """
    n_pix = sx.size
    half = size // 2 + 1
    dtype = values.dtype.type
    one, zero, origin = dtype(1), dtype(0), dtype(size // 2)
    limit = dtype(reach * reach * ON_THE_EDGE)
    n = 0
    for k in range(n_pix):
        px = sx[k] * rows[0] + sy[k] * rows[3]
        py = sx[k] * rows[1] + sy[k] * rows[4]
        pz = sx[k] * rows[2] + sy[k] * rows[5]
        sign = one if px >= zero else -one
        if px * px + py * py + pz * pz > limit:
            continue
        px *= sign
        py = py * sign + origin
        pz = pz * sign + origin
        x0, y0, z0 = int(px), int(py), int(pz)
        if z0 + 1 < low or z0 >= high:
            continue
        work[0, n] = px - dtype(x0)
        work[1, n] = py - dtype(y0)
        work[2, n] = pz - dtype(z0)
        work[3, n] = values[k]
        work[4, n] = sign * values[n_pix + k]
        work[5, n] = share * weight[k]
        index[n] = np.uint64(((z0 * size + y0) * half + x0) * 3)
        plane[n] = z0
        n += 1
    return n


@numba.njit(cache=True, fastmath=EXACT)
def spread(volume, size, low, high, n, index, plane, work, of_data, of_weight):  # type: ignore[no-untyped-def]
    """Add the n pixels that `place` listed to the planes low .. high - 1."""
    next_y = np.uint64(3 * (size // 2 + 1))
    next_z = np.uint64(size) * next_y
    for k in range(n):
        fx, fy, fz = work[0, k], work[1, k], work[2, k]
        gx, gy, gz = 1.0 - fx, 1.0 - fy, 1.0 - fz
        re, im, w = work[3, k], work[4, k], work[5, k]
        near = (gx * re, gx * im, gx * w)
        far = (fx * re, fx * im, fx * w)
        base = index[k]
        if plane[k] >= low:
            add_pair(volume, base, gz * gy, near, far, of_data, of_weight)
            add_pair(volume, base + next_y, gz * fy, near, far, of_data, of_weight)
        if plane[k] + 1 < high:
            base += next_z
            add_pair(volume, base, fz * gy, near, far, of_data, of_weight)
            add_pair(volume, base + next_y, fz * fy, near, far, of_data, of_weight)


@numba.njit(cache=True, parallel=True, fastmath=EXACT)
def scatter(  # type: ignore[no-untyped-def]
    volume, size, reach, first_z, last_z, chosen, all_rows, sx, sy, data, weight, image, share,
    of_data, of_weight,
):  # fmt: skip
    """Add chosen slices to a volume; the adjoint of `project.slices`.

    Every slab sees all slices and writes only its own planes, so threads never collide; additions
    are rounded to steps that float64 sums exactly, so no order of slices or ranks matters.

    Parameters
    ----------
    volume : float64 (size * size * (size // 2 + 1) * 3,) flat, interleaved (re, im, weight)
    size, reach : side of the cube; padding * r_max
    first_z, last_z : int64 (n_slab,) planes of each slab, last excluded
    chosen : int64 (n,) slices to add
    all_rows : float (n_slice, 6) rotation rows times padding
    sx, sy : float (n_pix,) positions in model pixels
    data : float (n_slice, 2 * n_pix) [real | imaginary]
    weight : float (n_img, n_pix)
    image : int64 (n_slice,) row of `weight`
    share : float (n_slice,) factor of the weight
    of_data, of_weight : MAGIC times the steps that additions are rounded to
    """
    for slab in numba.prange(first_z.size):
        low, high = first_z[slab], last_z[slab]
        index, plane = np.empty(sx.size, np.uint64), np.empty(sx.size, np.int64)
        work = np.empty((6, sx.size))
        for j in chosen:
            n = place(
                all_rows[j], sx, sy, size, reach, low, high, data[j], weight[image[j]], share[j],
                index, plane, work,
            )  # fmt: skip
            spread(volume, size, low, high, n, index, plane, work, of_data, of_weight)


@numba.njit(cache=True, fastmath=EXACT)
def place_in_plane(rows, sx, sy, size, reach, low, high, values, weight, share, index, line, work):  # type: ignore[no-untyped-def]
    """List the pixels of a turned plane that touch lines low .. high - 1 of y, as `place` does."""
    n_pix = sx.size
    half = size // 2 + 1
    dtype = values.dtype.type
    one, zero, origin = dtype(1), dtype(0), dtype(size // 2)
    limit = dtype(reach * reach * ON_THE_EDGE)
    n = 0
    for k in range(n_pix):
        px = sx[k] * rows[0] + sy[k] * rows[3]
        py = sx[k] * rows[1] + sy[k] * rows[4]
        sign = one if px >= zero else -one
        if px * px + py * py > limit:
            continue
        px *= sign
        py = py * sign + origin
        x0, y0 = int(px), int(py)
        if y0 + 1 < low or y0 >= high:
            continue
        work[0, n] = px - dtype(x0)
        work[1, n] = py - dtype(y0)
        work[2, n] = values[k]
        work[3, n] = sign * values[n_pix + k]
        work[4, n] = share * weight[k]
        index[n] = np.uint64((y0 * half + x0) * 3)
        line[n] = y0
        n += 1
    return n


@numba.njit(cache=True, fastmath=EXACT)
def spread_in_plane(plane, size, low, high, n, index, line, work, of_data, of_weight):  # type: ignore[no-untyped-def]
    """Add the n pixels that `place_in_plane` listed to lines low .. high - 1."""
    next_y = np.uint64(3 * (size // 2 + 1))
    for k in range(n):
        fx, fy = work[0, k], work[1, k]
        gx = 1.0 - fx
        re, im, w = work[2, k], work[3, k], work[4, k]
        near = (gx * re, gx * im, gx * w)
        far = (fx * re, fx * im, fx * w)
        if line[k] >= low:
            add_pair(plane, index[k], 1.0 - fy, near, far, of_data, of_weight)
        if line[k] + 1 < high:
            add_pair(plane, index[k] + next_y, fy, near, far, of_data, of_weight)


@numba.njit(cache=True, parallel=True, fastmath=EXACT)
def scatter_in_planes(  # type: ignore[no-untyped-def]
    planes, size, reach, first_y, last_y, class_index, all_rows, sx, sy, data, weight, image,
    share, of_data, of_weight,
):  # fmt: skip
    """Add slices to the planes of their classes; the adjoint of `project.slices` in 2D.

    As `scatter`, but all classes in one call: there are many, each with few slices.

    Parameters
    ----------
    planes : float64 (n_class, size * (size // 2 + 1) * 3), interleaved (re, im, weight)
    first_y, last_y : int64 (n_slab,) lines of each slab, last excluded
    class_index : int64 (n_slice,)
    size, reach, all_rows, sx, sy, data, weight, image, share, of_data, of_weight
        As of `scatter`.
    """
    for slab in numba.prange(first_y.size):
        low, high = first_y[slab], last_y[slab]
        index, line = np.empty(sx.size, np.uint64), np.empty(sx.size, np.int64)
        work = np.empty((5, sx.size))
        for j in range(all_rows.shape[0]):
            n = place_in_plane(
                all_rows[j], sx, sy, size, reach, low, high, data[j], weight[image[j]], share[j],
                index, line, work,
            )  # fmt: skip
            spread_in_plane(
                planes[class_index[j]], size, low, high, n, index, line, work, of_data, of_weight
            )
