"""The words by which RELION's External job starts a program."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from relion_mpi.core.errors import InputError
from relion_mpi.project.commands import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

INPUTS = {
    "--in_parts": ("particles",),
    "--in_3dref": ("map", "half map"),
    "--in_mask": ("mask",),
    "--in_mics": ("micrographs",),
    "--in_coords": ("coordinates",),
    "--in_movies": ("movies",),
}
"""RELION's flag -> kinds of files that it may name."""
_JOB_FOLDER = re.compile(r"(?:.*/)?[A-Za-z0-9]+/job\d{3,}/")


def own_words(name: str, words: Sequence[str], flags: Container[str]) -> list[str]:
    """Turn the words of an External job into the command's own.

    Parameters
    ----------
    name
        Command.
    words
        Words after it, for example `--o External/job012/ --in_parts particles.star --j 4`.
    flags
        Flags that the command knows.

    Returns
    -------
    list of str
        Input flags by their names here; a folder of a job after --o is completed by the command's
        usual root, and --j left out where the command has no such option. Words that are not
        those of an External job stay.

    Raises
    ------
    InputError
        The command does not read such a file.
    """
    command = COMMANDS.get("refine3d" if name == "refine" else name)
    if command is None:
        return list(words)
    own: list[str] = []
    of_job = False
    for word in words:
        flag, equals, value = word.partition("=")
        if flag in INPUTS:
            fields = [field for field, kind in command.inputs if kind in INPUTS[flag]]
            if not fields:
                raise InputError(
                    f"{flag}: found an input that relion-mpi {name} does not read, expected one "
                    f"of {', '.join(_readable(name))}; clear the field of the External job"
                )
            own.append(f"--{fields[0]}{equals}{value}")
            of_job = True
        elif own and own[-1] == "--o" and _JOB_FOLDER.fullmatch(word):
            own.append(str(Path(word) / command.root))
            of_job = True
        else:
            own.append(word)
    return _without_threads(own) if of_job and "--j" not in flags else own


def _readable(name: str) -> list[str]:
    kinds = {kind for _, kind in COMMANDS["refine3d" if name == "refine" else name].inputs}
    return [flag for flag, of in INPUTS.items() if kinds & set(of)]


def _without_threads(words: list[str]) -> list[str]:
    kept: list[str] = []
    skip = False
    for word in words:
        if not skip and word != "--j":
            kept.append(word)
        skip = word == "--j"
    return kept
