"""`relion-mpi extract`: particles cut out of micrographs."""

from __future__ import annotations

from relion_mpi.extract.options import ExtractOptions as Options
from relion_mpi.extract.program import extract
from relion_mpi.parallel.comm import world

__all__ = ["SUMMARY", "Options", "run"]

SUMMARY = "cut particles out of micrographs, as relion_preprocess does"


def run(options: Options) -> int:
    """Extract on every rank: rank 0 is the master, the others serve it.

    Parameters
    ----------
    options
        Checked options; the same on all ranks.

    Returns
    -------
    int
        Exit status.
    """
    extract(options, world())
    return 0
