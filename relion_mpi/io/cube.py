"""Maps that must be cubes of numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.core.errors import InputError
from relion_mpi.io.mrc import read_map

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def read_cube(path: Path) -> tuple[NDArray[np.float32], float]:
    """Read a map that must be a cube of finite voxels.

    Parameters
    ----------
    path
        MRC file.

    Returns
    -------
    volume : float32 (n, n, n)
    pixel_size_angst : float
        0 where the header has none.

    Raises
    ------
    InputError
        It cannot be read, is no cube, or holds values that are not finite.
    """
    volume, pixel_size_angst = read_map(path)
    if len(set(volume.shape)) != 1 or volume.shape[0] < 2:
        raise InputError(
            f"{path}: found {volume.shape[2]} x {volume.shape[1]} x {volume.shape[0]} voxels, "
            "expected a cube; give a map of the whole particle"
        )
    # A float64 sum of float32 numbers is finite where all are; to count takes five times as long.
    if not np.isfinite(volume.sum(dtype=np.float64)):
        n_bad = volume.size - int(np.isfinite(volume).sum())
        raise InputError(
            f"{path}: found {n_bad} voxels that are not finite, expected numbers; make the map "
            "again"
        )
    return volume, pixel_size_angst
