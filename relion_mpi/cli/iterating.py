"""What refinement and classification have in common as commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relion_mpi.parallel.comm import world
from relion_mpi.refine.continuing import with_saved_options
from relion_mpi.refine.program import refine
from relion_mpi.report.live import LiveReport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relion_mpi.refine.common_options import CommonOptions


def spelling(options: type[Any]) -> Callable[[Sequence[str]], list[str]]:
    """Make what adds to a command's words the options of the run that --continue names.

    Parameters
    ----------
    options
        Class of the command's options.
    """

    def spelt(words: Sequence[str]) -> list[str]:
        return with_saved_options(words, options)

    return spelt


def run(options: CommonOptions) -> int:
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
    refine(options, world(), LiveReport(options.o) if options.report else None)
    return 0
