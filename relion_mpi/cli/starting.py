"""What commands that start another command have in common."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from relion_mpi.cluster.split_words import split_words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def spelling(options: type[Any]) -> Callable[[Sequence[str]], list[str]]:
    """Make what takes a line, from its first word that is no option of ours, as the command.

    Parameters
    ----------
    options
        Class of the options that stand first.
    """

    def spelt(words: Sequence[str]) -> list[str]:
        own, command = split_words(words, options)
        return [*own, f"--command={shlex.join(command)}"] if command else own

    return spelt
