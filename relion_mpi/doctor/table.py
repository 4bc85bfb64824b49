"""The table that doctor prints."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class State(Enum):
    """How serious a line is."""

    OK = "OK"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was looked at; `mend` says what to do where it is not OK."""

    topic: str
    state: State
    found: str
    mend: str = ""


def as_text(lines: Sequence[Line]) -> str:
    """Write the table.

    Parameters
    ----------
    lines
        In the order they are shown.

    Returns
    -------
    str
        One line each, the cure indented below, and a last line that sums up.
    """
    topics = max(len(line.topic) for line in lines)
    states = max(len(state.value) for state in State)
    rows = []
    for line in lines:
        rows.append(f"{line.topic:<{topics}}  {line.state.value:<{states}}  {line.found}")
        if line.mend:
            rows.append(" " * (topics + states + 4) + f"-> {line.mend}")
    return "\n".join([*rows, "", verdict(lines)])


def verdict(lines: Sequence[Line]) -> str:
    """Sum up the table in one sentence.

    Parameters
    ----------
    lines
        All lines.

    Returns
    -------
    str
        How many problems and notes there are.
    """
    n_problems = sum(line.state is State.PROBLEM for line in lines)
    n_notes = sum(line.state is State.NOTE for line in lines)
    if n_problems:
        return f"{n_problems} problem(s) and {n_notes} note(s): mend the problems before a run."
    if n_notes:
        return f"No problem, {n_notes} note(s)."
    return "No problem."
