"""A command line of relion_refine, turned into options of the command that it is of."""

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
from relion_mpi.refine.class2d_options import Class2DOptions
from relion_mpi.refine.class3d_options import Class3DOptions
from relion_mpi.refine.class_references import is_of_images
from relion_mpi.refine.initial_model_options import InitialModelOptions
from relion_mpi.refine.options import RefineOptions
from relion_mpi.refine.relion_options import ROWS
from relion_mpi.refine.relion_row import CLASS2D, CLASS3D, INITIAL, REFINE3D, Fate, Row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relion_mpi.refine.common_options import CommonOptions

log = logging.getLogger(__name__)

_PROGRAMS = ("relion_refine", "relion_refine_mpi")
_OWN = "Options of relion-mpi"
_GROUPS = {
    Fate.HONOURED: "Options of relion_refine",
    Fate.NO_EFFECT: "Accepted, without effect here",
    Fate.REFUSED: "Refused: see docs/options.md",
}
PROGRAMMES: dict[str, type[Any]] = {
    INITIAL: InitialModelOptions, CLASS2D: Class2DOptions, CLASS3D: Class3DOptions,
    REFINE3D: RefineOptions,
}  # fmt: skip
"""Options of each command whose lines are taken; of an option of several the last one declares."""
ITERATIONS = 50
"""RELION's number of iterations over all particles where a line does not say."""
_DECLARED = {name: said for cls in PROGRAMMES.values() for name, said in declarations(cls).items()}
_DEFAULTS = {
    field.name: field.default for cls in PROGRAMMES.values() for field in dataclasses.fields(cls)
}
_KINDS = {
    name: kind
    for cls in PROGRAMMES.values()
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
        return name, *_undeclared(row, group)
    given = {field.name: getattr(said, field.name) for field in dataclasses.fields(said)}
    given |= {"help": _help(row) or said.help, "group": group}
    if row.automatic is not None or row.default is None:
        given["minimum"] = None
    kind = _KINDS[name] if row.default is not None else _KINDS[name] | None
    return name, kind, option(row.default, **given)


def _help(row: Row) -> str:
    """Return what a row says of an option where it is honoured, which may be nothing."""
    cases = [(row.fate, row.note), *row.elsewhere.values()]
    return next((note for fate, note in cases if fate is Fate.HONOURED), "")


def _undeclared(row: Row, group: str) -> tuple[Any, Any]:
    """Make kind and field of a row that is no option of any command."""
    if row.is_honoured and row.default is not None:
        least = 0 if type(row.default) is int else None
        said = option(row.default, help=row.note, flag=row.flag, group=group, minimum=least)
        return type(row.default), said
    is_flag = isinstance(row.default, bool)
    hidden = row.fate is Fate.REFUSED
    default = False if is_flag else None
    said = option(default, help=row.note, flag=row.flag, group=group, hidden=hidden)
    return bool if is_flag else str | None, said


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


def command_of(line: Any) -> str:
    """Tell of which command a line is: which options are there decides, as in RELION.

    Parameters
    ----------
    line
        A `LineOptions`.

    Returns
    -------
    str
        One of `relion_mpi.refine.relion_row.COMMANDS`.

    Raises
    ------
    InputError
        A list of references cannot be read.
    """
    if line.auto_refine:
        return REFINE3D
    if line.denovo_3dref:
        return INITIAL
    has_none = line.ref in (None, Path("None"))
    return CLASS2D if has_none or is_of_images(line.ref) else CLASS3D


def translate(line: Any) -> CommonOptions:
    """Make the options of a run, with RELION's defaults where the line says nothing.

    Parameters
    ----------
    line
        A `LineOptions`.

    Returns
    -------
    CommonOptions
        Those of the command that the line is of.

    Raises
    ------
    InputError
        The line asks for what is not there: the option is named, with the reason.
    """
    command = command_of(line)
    refused = {
        row: note
        for row in ROWS.values()
        for fate, note in [row.in_line(command)]
        if fate is Fate.REFUSED and _asks(line, row)
    }
    if refused:
        raise InputError(_reasons(refused))
    if command == REFINE3D and not line.split_random_halves:
        msg = "--auto_refine refines two half-sets apart: add --split_random_halves"
        raise InputError(msg)
    if command == INITIAL and not (line.grad or line.sgd):
        msg = "--denovo_3dref makes an initial model of mini-batches: add --grad"
        raise InputError(f"{msg} (--sgd in lines of RELION 3.1)")
    cls = PROGRAMMES[command]
    values = {name: _value(line, name, command) for name in declarations(cls)}
    if line.iter is None and command in (CLASS3D, CLASS2D) and not line.grad:
        values["iter"] = ITERATIONS
    if line.sgd and command != REFINE3D:
        values |= _of_sgd(line)
    optional = _may_be_none(cls)
    said = {k: value for k, value in values.items() if value is not None or k in optional}
    found: CommonOptions = from_namespace(cls, argparse.Namespace(**said))
    return found


def _of_sgd(line: Any) -> dict[str, Any]:
    """Return options of mini-batches for RELION 3.1's schedule."""
    counts = line.sgd_ini_iter, line.sgd_inbetween_iter, line.sgd_fin_iter
    total = sum(counts)
    if total == 0:
        msg = "--sgd: found no iterations, expected some in one of --sgd_ini_iter, "
        raise InputError(msg + "--sgd_inbetween_iter and --sgd_fin_iter; give or leave out these")
    return {
        "grad": True, "iter": total,
        "grad_ini_frac": counts[0] / total, "grad_fin_frac": counts[2] / total,
        "grad_ini_resol": line.sgd_ini_resol, "grad_fin_resol": line.sgd_fin_resol,
        "grad_ini_subset": line.sgd_ini_subset, "grad_fin_subset": line.sgd_fin_subset,
        "grad_write_iter": line.sgd_write_iter,
    }  # fmt: skip


def say_what_has_no_effect(line: Any) -> None:
    """Log, in one line, which options of the line change nothing.

    Parameters
    ----------
    line
        A `LineOptions`.
    """
    command = command_of(line)
    idle = [
        row.flag
        for row in ROWS.values()
        if row.in_line(command)[0] is Fate.NO_EFFECT and _is_given(line, row)
    ]
    if idle:
        log.info(
            "Without effect in a line of %s (docs/options.md has the reasons): %s",
            command, ", ".join(idle),
        )  # fmt: skip


def _is_given(line: Any, row: Row) -> bool:
    """Whether an option without effect is there; one that the other program takes: changed."""
    given = getattr(line, _name(row))
    return _asks(line, row) if row.is_honoured else given not in (None, False)


def _may_be_none(cls: type[Any]) -> set[str]:
    """Return the fields for which None says that there is none."""
    return {field.name for field in dataclasses.fields(cls) if field.default is None}


def _asks(line: Any, row: Row) -> bool:
    """Whether an option is there with another value than its default."""
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


def _value(line: Any, name: str, command: str) -> Any:
    """Return what the line says of a field of the options of a command; None: nothing."""
    value = getattr(line, name)
    row = ROWS.get(_DECLARED[name].flag)
    if row is not None and row.automatic is not None and (value is None or value <= 0):
        return row.automatic.get(command)
    # RELION writes None for "no file".
    return None if value == Path("None") else value
