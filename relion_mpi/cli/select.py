"""`relion-mpi select`: particles of chosen classes."""

from __future__ import annotations

from relion_mpi.parallel import comm
from relion_mpi.select.options import SelectOptions as Options
from relion_mpi.select.program import select

__all__ = ["SUMMARY", "Options", "run"]

SUMMARY = "write the particles of chosen classes to a new STAR file"


def run(options: Options) -> int:
    """Select on rank 0; there is nothing to share out.

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
        Files cannot be read or written, or nothing is left.
    """
    if comm.world().rank == 0:
        select(options)
    return 0
