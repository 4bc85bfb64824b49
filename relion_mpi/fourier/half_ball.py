"""The part of a padded half grid that Fourier sums reach, row by row: about half of its voxels.

Sums travel between ranks in this form. A row is all voxels of one (z, y), from x = 0 on.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@lru_cache(maxsize=4)
def row_starts(size: int) -> NDArray[np.int64]:
    """Tell where each row begins when the rows lie one after the other.

    Parameters
    ----------
    size
        Side of the odd grid (`relion_mpi.fourier.shells.padded_size`); z and y are centred.

    Returns
    -------
    int64 (size * size + 1,)
        Row z * size + y holds entries starts[row] to starts[row + 1]; read-only. A sample within
        the largest radius, size // 2 - 1, touches corners less than two voxels further out: all of
        these are kept.
    """
    centred = (np.arange(size) - size // 2) ** 2
    left = (size // 2 + 1) ** 2 - (centred[:, None] + centred[None, :]).ravel()
    last_x = np.floor(np.sqrt(np.maximum(left, 0))).astype(np.int64)
    length = np.where(left >= 0, np.minimum(last_x, size // 2) + 1, 0)
    starts = np.concatenate([[0], np.cumsum(length)])
    starts.flags.writeable = False
    return starts


def n_kept(size: int) -> int:
    """Count the voxels of a grid that are kept."""
    return int(row_starts(size)[-1])


def is_kept(size: int) -> NDArray[np.bool_]:
    """Tell which voxels are kept, bool (size, size, size // 2 + 1)."""
    length = np.diff(row_starts(size)).reshape(size, size)
    kept: NDArray[np.bool_] = np.arange(size // 2 + 1) < length[:, :, None]
    return kept
