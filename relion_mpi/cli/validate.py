"""`relion-mpi validate`: whether a run could start from this input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relion_mpi.parallel import comm
from relion_mpi.validate.options import ValidateOptions as Options
from relion_mpi.validate.program import validate

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SUMMARY", "Options", "run", "spelt"]

SUMMARY = "check particles, reference and mask as a run would, and list unusable images"


def spelt(words: Sequence[str]) -> list[str]:
    """Spell out `validate FILE` as `validate --i FILE`.

    Parameters
    ----------
    words
        Words after the command.

    Returns
    -------
    list of str
        The same, with the flag before a leading name.
    """
    return ["--i", *words] if words and not words[0].startswith("-") else list(words)


def run(options: Options) -> int:
    """Check on rank 0; the others have nothing to do.

    Parameters
    ----------
    options
        What was asked for.

    Returns
    -------
    int
        Exit status: 1 if a run would be refused.
    """
    return validate(options) if comm.world().rank == 0 else 0
