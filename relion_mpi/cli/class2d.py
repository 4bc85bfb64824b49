"""`relion-mpi class2d`: 2D classification."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relion_mpi.parallel.comm import world
from relion_mpi.refine.class2d_options import Class2DOptions as Options
from relion_mpi.refine.continuing import with_saved_options
from relion_mpi.refine.program import refine

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SUMMARY", "Options", "run", "spelt"]

SUMMARY = "Average particles in classes of like views (RELION's 2D classification)"


def spelt(words: Sequence[str]) -> list[str]:
    """Add the options of the run that --continue names.

    Parameters
    ----------
    words
        Words after the command.

    Returns
    -------
    list of str
        Options only.
    """
    return with_saved_options(words, Options)


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
