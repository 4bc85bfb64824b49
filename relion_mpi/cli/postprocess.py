"""`relion-mpi postprocess`: resolution and sharpening from two half-maps."""

from __future__ import annotations

from relion_mpi.parallel import comm
from relion_mpi.postprocess.options import PostprocessOptions as Options
from relion_mpi.postprocess.program import postprocess

__all__ = ["SUMMARY", "Options", "run"]

SUMMARY = "find the resolution of two half-maps, and sharpen and filter their mean"


def run(options: Options) -> int:
    """Post-process on rank 0; there is nothing to share out.

    Parameters
    ----------
    options
        What was asked for.

    Returns
    -------
    int
        Exit status 0.

    Raises
    ------
    InputError
        Files cannot be read or written, or do not fit each other.
    """
    if comm.world().rank == 0:
        postprocess(options)
    return 0
