"""Passes over all voxels of the padded grid, threaded by planes of z; radii are never stored.

Sums are kept per plane and added in order, so they do not depend on the number of threads.
"""

from __future__ import annotations

import math

import numba
import numpy as np


@numba.njit(cache=True, inline="always")
def shell_of(radius2, padding):  # type: ignore[no-untyped-def]
    """Nearest shell of the unpadded transform."""
    return int(math.sqrt(radius2) / padding + 0.5)


@numba.njit(cache=True, parallel=True)
def shell_sums(weight, prior, reach, padding, factor, n_shell):  # type: ignore[no-untyped-def]
    """Sum weights, voxels, and voxels whose weight outweighs the inverse prior, per shell.

    Parameters
    ----------
    weight : float64 (size, size, size // 2 + 1), z and y centred, x from 0
    prior : float64 (n_shell,) variance; zeros where none is known
    reach, padding : voxels within reach are counted (exclusive)
    factor : oversampling correction of the weights
    n_shell : length of the result

    Returns
    -------
    float64 (3, n_shell)
    """
    size, _, half = weight.shape
    origin = size // 2
    planes = np.zeros((size, 3, n_shell))
    for z in numba.prange(size):
        mine = planes[z]
        for y in range(size):
            base = (z - origin) ** 2 + (y - origin) ** 2
            for x in range(half):
                r2 = base + x * x
                if r2 >= reach * reach:
                    break
                s = shell_of(r2, padding)
                if s < n_shell:
                    w = weight[z, y, x] * factor
                    mine[0, s] += w
                    mine[1, s] += 1.0
                    mine[2, s] += w * prior[s] >= 1.0
    total = np.zeros((3, n_shell))
    for z in range(size):
        total += planes[z]
    return total


@numba.njit(cache=True, parallel=True)
def downsample(data, weight, padding, reach, side):  # type: ignore[no-untyped-def]
    """Average data over weights in bins of the unpadded grid.

    Returns
    -------
    complex128 (side, side, side // 2 + 1)
        z and y centred; 0 where there is no weight.
    """
    size, _, half = data.shape
    origin, middle = size // 2, side // 2
    out = np.zeros((side, side, side // 2 + 1), np.complex128)
    for bz in numba.prange(side):
        sums = np.zeros((side, side // 2 + 1), np.complex128)
        weights = np.zeros((side, side // 2 + 1))
        # Rounding half away from zero, a bin reaches half a bin to both sides of its centre.
        low = (bz - middle) * padding - padding
        for kz in range(low, low + 2 * padding + 1):
            if abs(kz) > origin or _bin(kz, padding) != bz - middle:
                continue
            for y in range(size):
                ky = y - origin
                for x in range(half):
                    if kz * kz + ky * ky + x * x > (reach + padding) ** 2:
                        break
                    by, bx = _bin(ky, padding) + middle, _bin(x, padding)
                    sums[by, bx] += data[kz + origin, y, x]
                    weights[by, bx] += weight[kz + origin, y, x]
        for by in range(side):
            for bx in range(side // 2 + 1):
                if weights[by, bx] > 0.0:
                    out[bz, by, bx] = sums[by, bx] / weights[by, bx]
    return out


@numba.njit(cache=True, inline="always")
def _bin(k, padding):  # type: ignore[no-untyped-def]
    """Round k / padding half away from zero."""
    return int(k / padding + 0.5) if k > 0 else -int(-k / padding + 0.5)


@numba.njit(cache=True, parallel=True)
def add_prior(weight, prior, reach, padding, factor, min_shell):  # type: ignore[no-untyped-def]
    """Add 1 / (factor * prior) to weights inside reach from shell min_shell on, in place."""
    size, _, half = weight.shape
    origin = size // 2
    for z in numba.prange(size):
        for y in range(size):
            base = (z - origin) ** 2 + (y - origin) ** 2
            for x in range(half):
                r2 = base + x * x
                if r2 >= reach * reach:
                    break
                s = min(shell_of(r2, padding), prior.size - 1)
                if s < min_shell:
                    continue
                value, mine = prior[s] * factor, weight[z, y, x]
                if value > 1e-20:
                    weight[z, y, x] = mine + 1.0 / value
                elif mine > 1e-20:
                    weight[z, y, x] = mine + 1000.0 / mine


@numba.njit(cache=True, parallel=True)
def mean_weight(weight, reach, padding, n_shell):  # type: ignore[no-untyped-def]
    """Average weights over shells by truncated radius, float64 (n_shell,)."""
    size, _, half = weight.shape
    origin = size // 2
    planes = np.zeros((size, 2, n_shell))
    for z in numba.prange(size):
        for y in range(size):
            base = (z - origin) ** 2 + (y - origin) ** 2
            for x in range(half):
                r2 = base + x * x
                if r2 >= reach * reach:
                    break
                s = min(int(math.sqrt(r2) / padding), n_shell - 1)
                planes[z, 0, s] += weight[z, y, x]
                planes[z, 1, s] += 1.0
    mean = np.zeros(n_shell)
    for s in range(n_shell):
        total, count = 0.0, 0.0
        for z in range(size):
            total += planes[z, 0, s]
            count += planes[z, 1, s]
        mean[s] = total / count if count > 0.0 else 0.0
    return mean


@numba.njit(cache=True, parallel=True)
def divide(data, weight, floor, reach, padding):  # type: ignore[no-untyped-def]
    """Divide data by weights, kept above their shell's floor; 0 beyond reach."""
    size, _, half = data.shape
    origin = size // 2
    out = np.zeros_like(data)
    for z in numba.prange(size):
        for y in range(size):
            base = (z - origin) ** 2 + (y - origin) ** 2
            for x in range(half):
                r2 = base + x * x
                if r2 > reach * reach:
                    break
                s = min(int(math.sqrt(r2) / padding), floor.size - 1)
                divisor = max(weight[z, y, x], floor[s])
                if divisor > 0.0:
                    out[z, y, x] = data[z, y, x] / divisor
    return out


@numba.njit(cache=True, parallel=True)
def add_rotated(data, weight, operators, reach, out_data, out_weight):  # type: ignore[no-untyped-def]
    """Add the grids interpolated at every rotated voxel position."""
    size, _, half = data.shape
    origin = size // 2
    for z in numba.prange(size):
        for y in range(size):
            for x in range(half):
                kz, ky = z - origin, y - origin
                if x * x + ky * ky + kz * kz > reach * reach:
                    continue
                total, total_weight = 0j, 0.0
                for r in operators:
                    px = r[0, 0] * x + r[0, 1] * ky + r[0, 2] * kz
                    py = r[1, 0] * x + r[1, 1] * ky + r[1, 2] * kz
                    pz = r[2, 0] * x + r[2, 1] * ky + r[2, 2] * kz
                    mirrored = px < 0.0
                    if mirrored:
                        px, py, pz = -px, -py, -pz
                    py += origin
                    pz += origin
                    x0, y0, z0 = int(px), int(py), int(pz)
                    fx, fy, fz = px - x0, py - y0, pz - z0
                    value, value_weight = 0j, 0.0
                    for dz in range(2):
                        wz = fz if dz else 1.0 - fz
                        for dy in range(2):
                            wzy = wz * (fy if dy else 1.0 - fy)
                            for dx in range(2):
                                w = wzy * (fx if dx else 1.0 - fx)
                                if w != 0.0:
                                    value += w * data[z0 + dz, y0 + dy, x0 + dx]
                                    value_weight += w * weight[z0 + dz, y0 + dy, x0 + dx]
                    total += value.conjugate() if mirrored else value
                    total_weight += value_weight
                out_data[z, y, x] += total
                out_weight[z, y, x] += total_weight
