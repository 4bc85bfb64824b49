"""What is said of an option of relion_refine: its fate, for each command that a line may be of."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

REFINE3D, CLASS3D, CLASS2D, INITIAL = "refine3d", "class3d", "class2d", "initialmodel"
COMMANDS = (REFINE3D, CLASS3D, CLASS2D, INITIAL)
"""Commands whose lines are taken."""


class Fate(StrEnum):
    """What becomes of an option."""

    HONOURED = "honoured"
    NO_EFFECT = "no effect"
    REFUSED = "refused"


Case = tuple[Fate, str]
"""Fate of an option and the reason, which may be empty where it is honoured."""


@dataclass(frozen=True, slots=True)
class Row:
    """One option of relion_refine.

    Attributes
    ----------
    flag
        Its name.
    fate
        What becomes of it.
    default
        What holds without it: a bool for an option that takes no value; None: nothing. A refused
        option is let pass with its default.
    note
        The reason; for an honoured option only what its own help does not say.
    elsewhere
        Fate and reason by command, in lines where they are others.
    automatic
        Where a value that is not positive leaves the choice to the program: what RELION chooses,
        by command; a command that is not there has a default of its own.
    instead
        Row of which this is another spelling.
    """

    flag: str
    fate: Fate
    default: bool | float | str | None
    note: str = ""
    elsewhere: Mapping[str, Case] = field(default_factory=dict, hash=False)
    automatic: Mapping[str, float] | None = field(default=None, hash=False)
    instead: str = ""

    def in_line(self, command: str) -> Case:
        """Return fate and reason in a line of a command, one of `COMMANDS`."""
        return self.elsewhere.get(command, (self.fate, self.note))

    @property
    def is_honoured(self) -> bool:
        """Whether lines of any command take its value."""
        return any(self.in_line(command)[0] is Fate.HONOURED for command in COMMANDS)
