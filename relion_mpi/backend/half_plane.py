"""Sums of 2D classes as they travel: all rows of a padded half plane, one after the other.

A row is all voxels of one y, from x = 0 on; y is centred. Unlike `relion_mpi.fourier.half_ball`
nothing is left out: planes are small.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def plane_shape(size: int) -> tuple[int, int]:
    """Return the shape (y, x) of the half plane.

    Parameters
    ----------
    size
        Side of the odd grid (`relion_mpi.fourier.shells.padded_size`).
    """
    return size, size // 2 + 1


def n_rows(size: int) -> int:
    """Count the entries of a class; (y, x) is entry y * (size // 2 + 1) + x."""
    return size * (size // 2 + 1)


def row_starts(size: int) -> NDArray[np.int64]:
    """Tell where each row begins, int64 (size + 1,), the end of the last one included."""
    return np.arange(size + 1, dtype=np.int64) * (size // 2 + 1)
