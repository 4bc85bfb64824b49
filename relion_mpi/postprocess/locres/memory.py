"""Memory of a local resolution: planned before, refused where there is not enough."""

from __future__ import annotations

from relion_mpi.core.errors import InputError
from relion_mpi.core.memory import GIB, available_bytes

MAPS = 9
"""Whole maps of float32 at once: halves, random ones, their sum, three totals, one passing by."""
WINDOWS_A_THREAD = 10
"""Boxes of float32 a thread has: a window, its transforms, and results that wait."""
PROGRAM_BYTES = 0.3 * GIB
"""The interpreter, its packages and compiled kernels."""


def needed_bytes(box_size: int, window_size: int, n_threads: int) -> float:
    """Predict the peak.

    Parameters
    ----------
    box_size, window_size
        Voxels.
    n_threads
        That measure windows.

    Returns
    -------
    float
        Bytes.
    """
    voxels = MAPS * box_size**3 + n_threads * WINDOWS_A_THREAD * window_size**3
    return PROGRAM_BYTES + 4.0 * voxels


def require(needed: float) -> None:
    """Refuse what this host's memory cannot hold.

    Parameters
    ----------
    needed
        Bytes.

    Raises
    ------
    InputError
        Less is free.
    """
    free = available_bytes()
    if free is not None and free < needed:
        raise InputError(
            f"--locres needs {needed / GIB:.1f} GiB of memory, of which {free / GIB:.1f} GiB are "
            "free; end other programs, take fewer threads with --j, or crop the maps with "
            "relion-mpi map --new_box"
        )
