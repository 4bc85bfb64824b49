"""Where a starter's own options end, and the command that it starts begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relion_mpi.core.option_values import kind_of
from relion_mpi.core.options import declarations

if TYPE_CHECKING:
    from collections.abc import Sequence


def split_words(words: Sequence[str], cls: type[Any]) -> tuple[list[str], list[str]]:
    """Split a line before its first word that is neither an option of `cls` nor its value.

    Parameters
    ----------
    words
        As typed; `--` also ends the options.
    cls
        Dataclass of the options that stand first.

    Returns
    -------
    tuple
        Options, and the rest without `--`.
    """
    takes_value = {}
    for name, said in declarations(cls).items():
        for flag in filter(None, (said.flag, said.negate)):
            takes_value[_plain(flag)] = kind_of(cls, name).base is not bool
    at = 0
    while at < len(words) and words[at] != "--":
        flag, equals, _ = words[at].partition("=")
        if not flag.startswith("--"):
            break
        at += 2 if takes_value.get(_plain(flag)) and not equals else 1
    rest = list(words[at:])
    return list(words[:at]), rest[1:] if rest[:1] == ["--"] else rest


def _plain(flag: str) -> str:
    return flag.lstrip("-").replace("-", "_")
