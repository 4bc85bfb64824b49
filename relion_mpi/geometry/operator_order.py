"""Operators of a point group in the order in which RELION numbers them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.geometry.symmetry import PHI, axis_rotation, icosahedral_turn, point_group

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.geometry.symmetry import Axis

_Z: Axis = (0.0, 0.0, 1.0)
_X: Axis = (1.0, 0.0, 0.0)
_DIFFERENT = 1e-4


def numbered_operators(name: str) -> NDArray[np.float64]:
    """Return the operators R of a group, such that A R is an orientation like A.

    Parameters
    ----------
    name
        Point group, see `relion_mpi.geometry.symmetry.point_group`.

    Returns
    -------
    float64 (n_ops, 3, 3)
        The identity first.

    Raises
    ------
    InputError
        If the name is unknown, or a group with mirror planes.

    Notes
    -----
    Source: what relion_refine --print_symmetry_ops prints, with which tests compare: the powers of
    each generator, then what is new among the products of two, in growing squares of the table.
    """
    canonical = point_group(name).name
    found: list[NDArray[np.float64]] = []
    for axis, fold in _generators(canonical):
        generator = axis_rotation(axis, -360.0 / fold)
        power = generator
        for _ in range(fold - 1):
            found.append(power)
            power = power @ generator
    n = 0
    while n < len(found):  # the list grows while it is read
        square = [(i, n) for i in range(n)] + [(n, j) for j in range(n, -1, -1)]
        for i, j in square:
            product = found[i] @ found[j]
            known = np.stack([np.eye(3), *found])
            if np.abs(known - product).max(axis=(1, 2)).min() > _DIFFERENT:
                found.append(product)
        n += 1
    return np.stack([np.eye(3), *found])


def _generators(canonical: str) -> list[tuple[Axis, int]]:
    kind = canonical[0]
    if kind in "CD":
        first = [(_Z, int(canonical[1:]))]
        return first if kind == "C" else [*first, (_X, 2)]
    if kind == "T":
        return [(_Z, 3), ((0.0, np.sqrt(2.0), 1.0), 2)]
    if kind == "O":
        return [((1.0, 1.0, 1.0), 3), (_Z, 4)]
    turn = icosahedral_turn(canonical)
    if canonical == "I1":
        turn = turn.T  # RELION turns this setting the other way, to the same group
    axes: list[tuple[Axis, int]] = [(_Z, 2), ((1.0, 0.0, PHI), 5), ((0.0, 1.0, PHI**2), 3)]
    turned = [(turn @ np.array(axis), fold) for axis, fold in axes]
    return [((float(x), float(y), float(z)), fold) for (x, y, z), fold in turned]
