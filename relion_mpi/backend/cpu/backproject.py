"""Scatter of slices into a padded volume, by slabs of z so that threads never collide."""

from __future__ import annotations

import numba
import numpy as np

from relion_mpi.backend.cpu.project import FAST, ON_THE_EDGE


U1, U2, U3 = np.uint64(1), np.uint64(2), np.uint64(3)


@numba.njit(cache=True, fastmath=FAST, inline="always")
def add_corner(volume, base, share, re, im, weight):  # type: ignore[no-untyped-def]
    """Add one corner's share of a value to an interleaved (re, im, weight) voxel."""
    volume[base] += share * re
    volume[base + U1] += share * im
    volume[base + U2] += share * weight


@numba.njit(cache=True, parallel=True, fastmath=FAST)
def scatter(volume, size, reach, first_z, last_z, all_rows, sx, sy, data, weight, image, share):  # type: ignore[no-untyped-def]
    """Add slices to a volume; the adjoint of `project.slices`.

    Every slab sees all slices in order and writes only its own planes, so the sums do not
    depend on the number of slabs or threads.

    Parameters
    ----------
    volume : float (size * size * (size // 2 + 1) * 3,) flat, interleaved (re, im, weight)
    size, reach : side of the cube; padding * r_max
    first_z, last_z : int64 (n_slab,) planes of each slab, last excluded
    all_rows : float (n_slice, 6) rotation rows times padding
    sx, sy : float (n_pix,) positions in model pixels
    data : float (n_slice, 2 * n_pix) [real | imaginary]
    weight : float (n_img, n_pix)
    image : int64 (n_slice,) row of `weight`
    share : float (n_slice,) factor of the weight
    """
    half = size // 2 + 1
    next_y = np.uint64(3 * half)
    next_z = np.uint64(size) * next_y
    dtype = volume.dtype.type
    origin = dtype(size // 2)
    one, zero = dtype(1), dtype(0)
    limit = dtype(reach * reach * ON_THE_EDGE)
    n_pix = sx.size
    for slab in numba.prange(first_z.size):
        low, high = first_z[slab], last_z[slab]
        for j in range(all_rows.shape[0]):
            rows = all_rows[j]
            mine = weight[image[j]]
            for k in range(n_pix):
                pz = sx[k] * rows[2] + sy[k] * rows[5]
                px = sx[k] * rows[0] + sy[k] * rows[3]
                sign = -one if px < zero else one
                pz *= sign
                z0 = int(pz + origin)
                if z0 + 1 < low or z0 >= high:
                    continue
                px *= sign
                py = sign * (sx[k] * rows[1] + sy[k] * rows[4])
                if px * px + py * py + pz * pz > limit:
                    continue
                x0 = int(px)
                y0 = int(py + origin)
                fx = px - dtype(x0)
                fy = py + origin - dtype(y0)
                fz = pz + origin - dtype(z0)
                re = data[j, k]
                im = sign * data[j, n_pix + k]
                w = share[j] * mine[k]
                gx, gy, gz = one - fx, one - fy, one - fz
                base = np.uint64(((z0 * size + y0) * half + x0) * 3)
                if z0 >= low:
                    add_corner(volume, base, gz * gy * gx, re, im, w)
                    add_corner(volume, base + U3, gz * gy * fx, re, im, w)
                    a = base + next_y
                    add_corner(volume, a, gz * fy * gx, re, im, w)
                    add_corner(volume, a + U3, gz * fy * fx, re, im, w)
                if z0 + 1 < high:
                    a = base + next_z
                    add_corner(volume, a, fz * gy * gx, re, im, w)
                    add_corner(volume, a + U3, fz * gy * fx, re, im, w)
                    a += next_y
                    add_corner(volume, a, fz * fy * gx, re, im, w)
                    add_corner(volume, a + U3, fz * fy * fx, re, im, w)
