"""`relion-mpi reconstruct`: maps from particles at their poses."""

from __future__ import annotations

from relion_mpi.parallel.comm import world
from relion_mpi.reconstruct.not_here import refused as spelt
from relion_mpi.reconstruct.options import ReconstructOptions as Options
from relion_mpi.reconstruct.program import reconstruct

__all__ = ["SUMMARY", "Options", "run", "spelt"]

SUMMARY = "make a map of particles at the poses that a STAR file gives them"


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
    reconstruct(options, world())
    return 0
