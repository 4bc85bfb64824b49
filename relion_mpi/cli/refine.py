"""`relion-mpi refine`: a command line of relion_refine, unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relion_mpi.cli import iterating
from relion_mpi.parallel import abort
from relion_mpi.parallel.comm import world
from relion_mpi.refine.continuing import with_saved_options
from relion_mpi.refine.relion_line import LineOptions as Options
from relion_mpi.refine.relion_line import say_what_has_no_effect, translate, without_program

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SUMMARY", "Options", "run", "spelt"]

SUMMARY = "Take a line of relion_refine or relion_refine_mpi as it is (2D and 3D jobs)"


def spelt(words: Sequence[str]) -> list[str]:
    """Drop the program's name, if the line still has it; add the options of a continued run.

    Parameters
    ----------
    words
        Words after the command.

    Returns
    -------
    list of str
        Options only.
    """
    return with_saved_options(without_program(words), Options)


def run(line: Any) -> int:
    """Do what the line asks for, on every rank.

    Parameters
    ----------
    line
        What was read; the same on all ranks.

    Returns
    -------
    int
        Exit status.
    """
    options = abort.agreed(world().comm, lambda: translate(line))
    assert options is not None
    say_what_has_no_effect(line)
    return iterating.run(options)
