"""`relion-mpi refine3d`: gold-standard 3D refinement."""

from __future__ import annotations

from relion_mpi.parallel.comm import world
from relion_mpi.refine.options import RefineOptions as Options
from relion_mpi.refine.program import refine

__all__ = ["SUMMARY", "Options", "run"]

SUMMARY = "Refine one structure from particles to gold-standard half-maps (RELION's auto-refine)"


def run(options: Options) -> int:
    """Run on every rank: rank 0 is the master, the others serve it.

    Parameters
    ----------
    options
        Checked options; the same on all ranks.

    Returns
    -------
    int
        Exit status.
    """
    refine(options, world())
    return 0
