"""A command line of relion_refine, turned into options of a refinement."""

from __future__ import annotations

import argparse
import dataclasses
import keyword
import logging
import typing
from dataclasses import MISSING
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relion_mpi.core.errors import InputError
from relion_mpi.core.options import declarations, from_namespace, option
from relion_mpi.refine.options import RefineOptions
from relion_mpi.refine.relion_options import ROWS, Fate, Row

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)

_PROGRAMS = ("relion_refine", "relion_refine_mpi")
_OWN = "Options of relion-mpi"
_GROUPS = {
    Fate.HONOURED: "Options of relion_refine",
    Fate.NO_EFFECT: "Accepted, without effect here",
    Fate.REFUSED: "Refused: see docs/options.md",
}
_DECLARED = declarations(RefineOptions)
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(RefineOptions)}
_KINDS = typing.get_type_hints(RefineOptions, localns={"Path": Path})


def without_program(words: Sequence[str]) -> list[str]:
    """Drop relion_refine or relion_refine_mpi in front of a whole line.

    Parameters
    ----------
    words
        Words after `relion-mpi refine`.

    Returns
    -------
    list of str
        The options.
    """
    return list(words[1:] if words and Path(words[0]).name in _PROGRAMS else words)


def own_options() -> list[str]:
    """Return the fields of RefineOptions that relion_refine does not know.

    Returns
    -------
    list of str
        Names of fields, in order.
    """
    return [name for name, said in _DECLARED.items() if said.flag not in ROWS]


def _name(row: Row) -> str:
    name = row.flag.lstrip("-")
    return f"{name}_" if keyword.iskeyword(name) else name


def _field(row: Row) -> tuple[str, Any, Any]:
    """Declare a row: like the field of RefineOptions that it sets, with RELION's default."""
    name, group = _name(row), _GROUPS[row.fate]
    said = _DECLARED.get(name) if row.fate is Fate.HONOURED else None
    if said is None:
        is_flag = isinstance(row.default, bool)
        default = False if is_flag else None
        kind = bool if is_flag else str | None
        hidden = row.fate is Fate.REFUSED
        said_of_it = option(default, help=row.note, flag=row.flag, group=group, hidden=hidden)
        return name, kind, said_of_it
    given = {field.name: getattr(said, field.name) for field in dataclasses.fields(said)}
    given |= {"help": row.note or said.help, "group": group}
    if row.automatic is not None:
        given["minimum"] = None
    kind = _KINDS[name] if row.default is not None else _KINDS[name] | None
    return name, kind, option(row.default, **given)


def _own_field(name: str) -> tuple[str, Any, Any]:
    said = _DECLARED[name]
    given = {field.name: getattr(said, field.name) for field in dataclasses.fields(said)}
    return name, _KINDS[name], option(_DEFAULTS[name], **(given | {"group": _OWN}))


LineOptions: type[Any] = dataclasses.make_dataclass(
    "LineOptions",
    [_field(row) for row in ROWS.values() if not row.instead]
    + [_own_field(name) for name in own_options()],
    frozen=True,
    kw_only=True,
)
"""Options of relion_refine as it declares them, and those of relion-mpi."""


def translate(line: Any) -> RefineOptions:
    """Make the options of a refinement, with RELION's defaults where the line says nothing.

    Parameters
    ----------
    line
        A `LineOptions`.

    Returns
    -------
    RefineOptions
        What the line asks for.

    Raises
    ------
    InputError
        The line asks for what is not there: the option is named, with the reason.
    """
    _refuse_other_programs(line)
    refused = [row for row in ROWS.values() if row.fate is Fate.REFUSED and _asks(line, row)]
    if refused:
        raise InputError(_reasons(refused))
    if not line.split_random_halves:
        msg = "--auto_refine refines two half-sets apart: add --split_random_halves"
        raise InputError(msg)
    values = {name: _value(line, name) for name in _DECLARED}
    said = {
        name: value
        for name, value in values.items()
        if value is not None or _DEFAULTS[name] is not MISSING
    }
    return from_namespace(RefineOptions, argparse.Namespace(**said))


def say_what_has_no_effect(line: Any) -> None:
    """Log, in one line, which options of the line change nothing.

    Parameters
    ----------
    line
        A `LineOptions`.
    """
    rows = [row for row in ROWS.values() if row.fate is Fate.NO_EFFECT]
    idle = [row.flag for row in rows if getattr(line, _name(row)) not in (None, False)]
    if idle:
        log.info("Without effect here (docs/options.md has the reasons): %s", ", ".join(idle))


def _refuse_other_programs(line: Any) -> None:
    """Refuse by name what is no auto-refine at all; single options would be misleading then."""
    if line.auto_refine:
        return
    if line.denovo_3dref or line.sgd:
        program = "an initial model"
    elif line.ref in (None, Path("None")):
        program = "2D classification (no --auto_refine, no --ref)"
    else:
        program = "3D classification (no --auto_refine)"
    raise InputError(
        f"this is a line for {program}, which is not there yet, only auto-refine is: run it with "
        "relion_refine, or add --auto_refine --split_random_halves"
    )


def _asks(line: Any, row: Row) -> bool:
    """Whether a refused option is there with another value than its default."""
    given = getattr(line, _name(row))
    if given is None or given is False:
        return False
    default = "None" if row.default is None else row.default
    return given is True or not _same(given, str(default))


def _same(one: str, other: str) -> bool:
    """Whether two values are the same text or the same number."""
    try:
        return float(one) == float(other)
    except ValueError:
        return one == other


def _reasons(rows: Sequence[Row]) -> str:
    """Name every refused option once, those with the same reason together."""
    flags: dict[str, list[str]] = {}
    for row in rows:
        flags.setdefault(row.note, []).append(row.flag)
    return "; ".join(f"{', '.join(names)}: {note}" for note, names in flags.items())


def _value(line: Any, name: str) -> Any:
    """Return what the line says of a field of RefineOptions."""
    value = getattr(line, name)
    row = ROWS.get(_DECLARED[name].flag)
    if row is not None and row.automatic is not None and value <= 0:
        return row.automatic
    # RELION writes None for "no file".
    return None if value == Path("None") else value
