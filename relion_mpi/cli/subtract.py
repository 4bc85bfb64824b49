"""`relion-mpi subtract`: particles less a part of their map."""

from __future__ import annotations

from relion_mpi.parallel.comm import world
from relion_mpi.subtract.options import SubtractOptions as Options
from relion_mpi.subtract.program import subtract

__all__ = ["SUMMARY", "Options", "run"]

SUMMARY = "subtract the projections of a part of a map from particles"


def run(options: Options) -> int:
    """Run on every rank: rank 0 hands out particles and writes them, the others subtract.

    Parameters
    ----------
    options
        Checked options; the same on all ranks.

    Returns
    -------
    int
        Exit status.
    """
    subtract(options, world())
    return 0
