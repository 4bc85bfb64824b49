"""Poses moved to another centre, and multiplied by a point group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from relion_mpi.geometry.euler import euler_to_matrix, matrix_to_euler
from relion_mpi.geometry.operator_order import numbered_operators
from relion_mpi.star.table import PIXEL_SIZE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.star.table import StarTable

ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
ORIGINS = ("rlnOriginXAngst", "rlnOriginYAngst")


def centred(table: StarTable, point_pix: tuple[float, float, float]) -> StarTable:
    """Change origins so that a point of the reference lies in the centre of the images.

    Parameters
    ----------
    table
        Particles with poses.
    point_pix
        x, y and z from the centre of the box, pixels of the images.

    Returns
    -------
    StarTable

    Raises
    ------
    InputError
        There are no angles or no optics groups, or what is no number.

    Notes
    -----
    The point is seen at (A p)_xy, and origins are what is added to the content of an image: the
    new one is the old one less (A p)_xy. Source: relion_star_handler --center, with which tests
    compare.
    """
    rotation = euler_to_matrix(*(table.numbers(label, "--center") for label in ANGLES))
    seen = rotation @ np.asarray(point_pix, np.float64)
    pixel = table.of_optics(PIXEL_SIZE)
    rows = table.checked()
    changed = [
        pl.Series(label, rows.numbers(label, 0.0) - seen[:, axis] * pixel)
        for axis, label in enumerate(ORIGINS)
    ]
    return table.with_rows(table.rows.with_columns(changed))


def expanded(table: StarTable, sym: str) -> StarTable:
    """Repeat each particle once for each operator of a point group.

    Parameters
    ----------
    table
        Particles with angles.
    sym
        Point group.

    Returns
    -------
    StarTable
        Rows of one particle follow one another, the first as it was.

    Raises
    ------
    InputError
        There are no angles, or no such group.

    Notes
    -----
    Source: relion_particle_symmetry_expand, with which tests compare.
    """
    operators = numbered_operators(sym)
    angles = np.stack([table.numbers(label, "--symmetry_expand") for label in ANGLES], axis=1)
    rotation = euler_to_matrix(*angles.T)
    whole = np.empty((len(angles), len(operators), 3))
    whole[:, 0] = angles
    for number, operator in enumerate(operators[1:], 1):
        whole[:, number] = matrix_to_euler(rotation @ operator)
    row = np.repeat(np.arange(len(angles)), len(operators))
    return table.with_rows(table.rows[row].with_columns(_series(whole.reshape(-1, 3))))


def _series(angles: NDArray[np.float64]) -> list[pl.Series]:
    return [pl.Series(label, angles[:, axis]) for axis, label in enumerate(ANGLES)]
