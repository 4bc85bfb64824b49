"""The command of one task of a job array."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from relion_mpi.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

TASK = "%a"
"""Stands for the task's number, as in Slurm's names of files."""
_VARIABLES = ("SLURM_ARRAY_TASK_ID", "PBS_ARRAY_INDEX")


def of_task(
    words: Sequence[str], listed: Path | None, environment: Mapping[str, str]
) -> list[str]:
    """Fill in what is the task's own.

    Parameters
    ----------
    words
        Of the command; may hold %a.
    listed
        File with a line for each task; empty lines and those that begin with # do not count.
    environment
        Variables of this process.

    Returns
    -------
    list of str
        The task's words; as they are where this is no task of an array.

    Raises
    ------
    InputError
        There is no line for the task, or several tasks would write to one --o.
    """
    number = next((environment[name] for name in _VARIABLES if environment.get(name)), None)
    rows = [] if listed is None else _rows(listed)
    if number is None:
        if listed is not None:
            raise InputError(
                f"--list {listed}: this is no task of a job array; submit with sbatch "
                f"--array=1-{len(rows)}, or leave --list out"
            )
        return list(words)
    outputs = [root_of([*words, *row]) for row in rows] or [root_of(words)]
    if listed is not None:
        _refuse_repeated(listed, outputs)
        if not number.isdecimal() or not 1 <= int(number) <= len(rows):
            raise InputError(
                f"--list {listed}: found {len(rows)} line(s) with options, but this is task "
                f"{number} of the array; submit with --array=1-{len(rows)}"
            )
        words = [*words, *rows[int(number) - 1]]
    elif outputs[0] is not None and TASK not in outputs[0]:
        raise InputError(
            f"--o {outputs[0]}: all tasks of the job array would write there, expected an output "
            f"each; put {TASK} into it, which stands for the number of the task"
        )
    return [word.replace(TASK, number) for word in words]


def root_of(words: Sequence[str]) -> str | None:
    """Return the last value of --o in a line; None where it has none.

    Parameters
    ----------
    words
        Of a command.
    """
    return value_of("--o", words)


def value_of(flag: str, words: Sequence[str]) -> str | None:
    """Return the last value of a flag in a line as it was typed; None where it is not there.

    Parameters
    ----------
    flag
        Such as --o.
    words
        Of a command.

    Returns
    -------
    str or None
        Empty for a flag without a value.
    """
    found = None
    for number, word in enumerate(words):
        name, equals, value = word.partition("=")
        if not word.startswith("--") or name.replace("-", "_") != flag.replace("-", "_"):
            continue
        after = words[number + 1] if number + 1 < len(words) else ""
        found = value if equals else "" if after.startswith("--") else after
    return found


def _rows(path: Path) -> list[list[str]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"--list {path}: cannot be read ({error.strerror})") from error
    found = []
    for number, line in enumerate(lines, 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise InputError(f"--list {path}, line {number}: {error}; see its quotes") from error
        if words:
            found.append(words)
    return found


def _refuse_repeated(path: Path, outputs: Sequence[str | None]) -> None:
    first: dict[str, int] = {}
    for number, root in enumerate(outputs, 1):
        if root is None or TASK in root:
            continue
        if root in first:
            raise InputError(
                f"--list {path}: lines {first[root]} and {number} both write to --o {root}, "
                f"expected an output each; change one, or put {TASK} into it"
            )
        first[root] = number
