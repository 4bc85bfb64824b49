"""A command line of relion_refine, turned into options of a refinement or classification."""

from __future__ import annotations

import argparse
import dataclasses
import keyword
import logging
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relion_mpi.core.errors import InputError
from relion_mpi.core.options import declarations, from_namespace, option
from relion_mpi.refine.class3d_options import Class3DOptions
from relion_mpi.refine.options import RefineOptions
from relion_mpi.refine.relion_options import ROWS, Fate, Row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

log = logging.getLogger(__name__)

_PROGRAMS = ("relion_refine", "relion_refine_mpi")
_OWN = "Options of relion-mpi"
_GROUPS = {
    Fate.HONOURED: "Options of relion_refine",
    Fate.NO_EFFECT: "Accepted, without effect here",
    Fate.REFUSED: "Refused: see docs/options.md",
}
_PROGRAMMES: dict[str, type[Any]] = {"class3d": Class3DOptions, "refine3d": RefineOptions}
# Where both have an option, auto-refine's declaration counts for the line.
_DECLARED = {name: said for cls in _PROGRAMMES.values() for name, said in declarations(cls).items()}
_DEFAULTS = {
    field.name: field.default for cls in _PROGRAMMES.values() for field in dataclasses.fields(cls)
}
_KINDS = {
    name: kind
    for cls in _PROGRAMMES.values()
    for name, kind in typing.get_type_hints(cls, localns={"Path": Path}).items()
}


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
    """Return the options that relion_refine does not know.

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
    """Declare a row: like the field of the options that it sets, with RELION's default."""
    name, group = _name(row), _GROUPS[Fate.HONOURED if row.is_honoured else row.fate]
    said = _DECLARED.get(name) if row.is_honoured else None
    if said is None:
        is_flag = isinstance(row.default, bool)
        default = False if is_flag else None
        kind = bool if is_flag else str | None
        hidden = row.fate is Fate.REFUSED
        said_of_it = option(default, help=row.note, flag=row.flag, group=group, hidden=hidden)
        return name, kind, said_of_it
    given = {field.name: getattr(said, field.name) for field in dataclasses.fields(said)}
    note = row.note if row.fate is Fate.HONOURED else ""
    given |= {"help": note or said.help, "group": group}
    if row.automatic is not None or row.default is None:
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


def translate(line: Any) -> RefineOptions | Class3DOptions:
    """Make the options of a run, with RELION's defaults where the line says nothing.

    Parameters
    ----------
    line
        A `LineOptions`.

    Returns
    -------
    RefineOptions or Class3DOptions
        What the line asks for.

    Raises
    ------
    InputError
        The line asks for what is not there: the option is named, with the reason.
    """
    _refuse_other_programs(line)
    refused = {
        row: note
        for row in ROWS.values()
        for fate, note in [row.in_line(_command(line))]
        if fate is Fate.REFUSED and _asks(line, row)
    }
    if refused:
        raise InputError(_reasons(refused))
    cls = _PROGRAMMES[_command(line)]
    if cls is RefineOptions and not line.split_random_halves:
        msg = "--auto_refine refines two half-sets apart: add --split_random_halves"
        raise InputError(msg)
    values = {name: _value(line, name) for name in declarations(cls)}
    if values["tau2_fudge"] is not None and values["tau2_fudge"] <= 0:
        values["tau2_fudge"] = None
    optional = _may_be_none(cls)
    said = {k: value for k, value in values.items() if value is not None or k in optional}
    found: RefineOptions | Class3DOptions = from_namespace(cls, argparse.Namespace(**said))
    return found


def say_what_has_no_effect(line: Any) -> None:
    """Log, in one line, which options of the line change nothing.

    Parameters
    ----------
    line
        A `LineOptions`.
    """
    command = _command(line)
    idle = [
        row.flag
        for row in ROWS.values()
        if row.in_line(command)[0] is Fate.NO_EFFECT and _is_given(line, row)
    ]
    if idle:
        log.info("Without effect here (docs/options.md has the reasons): %s", ", ".join(idle))


def _is_given(line: Any, row: Row) -> bool:
    """Whether an option without effect is there; one that the other program takes: changed."""
    given = getattr(line, _name(row))
    return _asks(line, row) if row.is_honoured else given not in (None, False)


def _may_be_none(cls: type[Any]) -> set[str]:
    """Return the fields for which None says that there is none."""
    return {field.name for field in dataclasses.fields(cls) if field.default is None}


def _command(line: Any) -> str:
    return "refine3d" if line.auto_refine else "class3d"


def _refuse_other_programs(line: Any) -> None:
    """Refuse by name what is another program; single options would be misleading then."""
    if line.auto_refine:
        return
    if line.denovo_3dref or line.sgd:
        program = "an initial model"
    elif line.ref in (None, Path("None")) or line.ref.suffix == ".mrcs":
        program = "2D classification (no --auto_refine, no map as --ref)"
    else:
        return
    raise InputError(
        f"this is a line for {program}, and lines are taken for auto-refine and 3D classification "
        "only: run it with relion_refine (2D classification also with relion-mpi class2d and its "
        "options), or add --auto_refine --split_random_halves"
    )


def _asks(line: Any, row: Row) -> bool:
    """Whether a refused option is there with another value than its default."""
    given = getattr(line, _name(row))
    if given is None or given is False:
        return False
    default = "None" if row.default is None else row.default
    return given is True or not _same(str(given), str(default))


def _same(one: str, other: str) -> bool:
    """Whether two values are the same text or the same number."""
    try:
        return float(one) == float(other)
    except ValueError:
        return one == other


def _reasons(rows: Mapping[Row, str]) -> str:
    """Name every refused option once, those with the same reason together."""
    flags: dict[str, list[str]] = {}
    for row, reason in rows.items():
        flags.setdefault(reason, []).append(row.flag)
    return "; ".join(f"{', '.join(names)}: {note}" for note, names in flags.items())


def _value(line: Any, name: str) -> Any:
    """Return what the line says of a field of the options."""
    value = getattr(line, name)
    row = ROWS.get(_DECLARED[name].flag)
    if row is not None and row.automatic is not None and value <= 0:
        return row.automatic
    # RELION writes None for "no file".
    return None if value == Path("None") else value
