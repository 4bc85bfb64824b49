"""`relion-mpi compare`: how two runs, tables or maps agree."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from relion_mpi.compare.options import CompareOptions as Options
from relion_mpi.compare.plots import write_plot
from relion_mpi.compare.program import compare
from relion_mpi.compare.report import as_text, write_report
from relion_mpi.core.errors import InputError
from relion_mpi.parallel import comm

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SUMMARY", "Options", "run", "spelt"]

SUMMARY = "compare the poses, classes and maps of two runs, or of a run and the truth"

log = logging.getLogger(__name__)


def spelt(words: Sequence[str]) -> list[str]:
    """Spell out `compare A B` as `compare --a A --b B`.

    Parameters
    ----------
    words
        Words after the command.

    Returns
    -------
    list of str
        The same, with flags before the leading names.
    """
    names: list[str] = []
    for word in words:
        if word.startswith("-") or len(names) == 2:
            break
        names.append(word)
    flags = [part for pair in zip(("--a", "--b"), names, strict=False) for part in pair]
    return flags + list(words[len(names) :])


def run(options: Options) -> int:
    """Compare, tell, and write the report if a folder was named.

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
        The two cannot be compared, or the folder cannot be made.
    """
    if comm.world().rank != 0:
        return 0  # nothing here to share out
    result = compare(options)
    log.info("%s", as_text(result))
    if options.o is not None:
        try:
            options.o.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--o {options.o}: cannot be made: {error.strerror}") from error
        write_report(result, options.o)
        write_plot(result, options.o / "compare.png")
        log.info("\nWritten: %s/compare.json, compare.star and compare.png", options.o)
    return 0
