"""`relion-mpi autopick`: particles in micrographs."""

from __future__ import annotations

from relion_mpi.parallel.comm import world
from relion_mpi.picking.options import AutopickOptions as Options
from relion_mpi.picking.program import autopick

__all__ = ["SUMMARY", "Options", "run"]

SUMMARY = "find particles in micrographs, by templates or as blobs"


def run(options: Options) -> int:
    """Run on every rank: rank 0 is the master, the others serve it.

    Parameters
    ----------
    options
        Checked options; the same on all ranks.

    Returns
    -------
    int
        Exit status 0.
    """
    autopick(options, world())
    return 0
