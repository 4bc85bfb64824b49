"""An argument parser that answers mistakes with one line."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from relion_mpi.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


class OptionParser(argparse.ArgumentParser):
    """Read flags spelt with underscores or dashes; no abbreviations, no usage dump.

    Parameters
    ----------
    prog
        Name of the command.
    description
        Text above the options.
    """

    def __init__(self, prog: str, description: str = "") -> None:
        width = min(100, _terminal_width())
        super().__init__(
            prog=prog,
            description=description,
            usage=f"{prog} [options]",
            allow_abbrev=False,
            formatter_class=lambda prog: argparse.HelpFormatter(
                prog, max_help_position=32, width=width
            ),
        )

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse `arguments`.

        Parameters
        ----------
        arguments
            Words after the command's name.

        Returns
        -------
        argparse.Namespace
            Values by field name.

        Raises
        ------
        InputError
            An option is unknown (the nearest known one is named), or has no value.
        """
        namespace, rest = self.parse_known_args(self._spelt(arguments))
        if rest:
            raise InputError(self._unknown(rest[0]))
        return namespace

    def error(self, message: str) -> NoReturn:
        """Raise `message` as an InputError instead of printing the usage.

        Parameters
        ----------
        message
            What argparse found wrong.
        """
        raise InputError(f"{message} (see {self.prog} --help)")

    def _spelt(self, arguments: Sequence[str]) -> list[str]:
        """Return `arguments` with known flags in their declared spelling.

        A number such as -1e-3 after a flag is joined to it, because argparse would take it for
        another flag.
        """
        known = {_plain(flag): flag for flag in self._option_string_actions}
        words: list[str] = []
        for word in arguments:
            flag, equals, value = word.partition("=")
            if word.startswith("--"):
                words.append(known.get(_plain(flag), flag) + equals + value)
            elif words and _is_negative_number(word) and self._takes_value(words[-1]):
                words[-1] += f"={word}"
            else:
                words.append(word)
        return words

    def _takes_value(self, flag: str) -> bool:
        action = self._option_string_actions.get(flag)
        return action is not None and action.nargs is None

    def _unknown(self, word: str) -> str:
        if not word.startswith("-"):
            return f"'{word}' follows no option (see {self.prog} --help)"
        flag = word.partition("=")[0]
        known = {_plain(one): one for one in self._option_string_actions}
        near = difflib.get_close_matches(_plain(flag), known, n=1, cutoff=0.5)
        hint = f"; did you mean {known[near[0]]}?" if near else f" (see {self.prog} --help)"
        return f"unknown option {flag}{hint}"


def _plain(flag: str) -> str:
    return flag.lstrip("-").replace("-", "_")


def _is_negative_number(word: str) -> bool:
    if not word.startswith("-"):
        return False
    try:
        float(word)
    except ValueError:
        return False
    return True


def _terminal_width() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (AttributeError, OSError, ValueError):
        return 100
