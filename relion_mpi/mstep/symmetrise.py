"""Friedel and point-group symmetry of Fourier sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.mstep.grid import FourierSums


def enforce_friedel(sums: FourierSums) -> None:
    """Add Friedel mates on the x = 0 plane, in place; the origin stays.

    Source
    ------
    RELION enforceHermitianSymmetry: a sum, not a mean, because samples beside the plane were
    scattered to one side of it only.
    """
    origin = sums.data.shape[0] // 2
    for array in (sums.data, sums.weight):
        plane = array[:, :, 0]
        centre = plane[origin, origin]
        mate = plane[::-1, ::-1]
        total = plane + (mate.conj() if np.iscomplexobj(plane) else mate)
        total[origin, origin] = centre
        array[:, :, 0] = total


@numba.njit(cache=True, parallel=True)
def _add_rotated(data, weight, operators, reach, out_data, out_weight):  # type: ignore[no-untyped-def]
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


def apply_point_group(sums: FourierSums, operators: NDArray[np.float64]) -> None:
    """Add the sums rotated by every operator but the identity, in place.

    Parameters
    ----------
    sums
        Friedel symmetry must have been enforced before.
    operators : float64 (n, 3, 3)
        The point group, identity first.

    Source
    ------
    RELION applyPointGroupSymmetry: a sum, not a mean.
    """
    if operators.shape[0] == 1:
        return
    data, weight = sums.data.copy(), sums.weight.copy()
    rotations = np.ascontiguousarray(operators[1:], np.float64)
    _add_rotated(data, weight, rotations, sums.reach, sums.data, sums.weight)
