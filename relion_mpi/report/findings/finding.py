"""One thing to know about a run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    PROBLEM = "problem"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know.

    Attributes
    ----------
    level : how bad it is
    name : short and fixed, for programs and tests
    title : a few words
    text : what was found, what it means, what to do
    """

    level: Level
    name: str
    title: str
    text: str


def problem(name: str, title: str, text: str) -> Finding:
    """Make a finding that puts the result in doubt; parameters as in `Finding`."""
    return Finding(Level.PROBLEM, name, title, text)


def note(name: str, title: str, text: str) -> Finding:
    """Make a finding that is good to know; parameters as in `Finding`."""
    return Finding(Level.NOTE, name, title, text)
