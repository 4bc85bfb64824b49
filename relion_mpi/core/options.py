"""Options declared once, as dataclass fields; flags, checks and help come from the declaration."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import MISSING, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from relion_mpi.core.errors import InputError
from relion_mpi.core.option_values import checked, kind_of, kind_word

if TYPE_CHECKING:
    from collections.abc import Sequence

_KEY = "relion_mpi.option"
_ABSENT: Any = object()


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Declaration:
    """What one option says about itself; made by `option`."""

    help: str
    unit: str | None
    flag: str
    choices: tuple[Any, ...] | None
    minimum: float | None
    maximum: float | None
    group: str
    metavar: str | None
    negate: str | None
    bare: str | None
    hidden: bool


def option(  # noqa: PLR0913 - the arguments are the declaration
    default: Any = MISSING,
    *,
    help: str,
    unit: str | None = None,
    flag: str = "",
    choices: Sequence[Any] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    group: str = "Options",
    metavar: str | None = None,
    negate: str | None = None,
    bare: str | None = None,
    hidden: bool = False,
) -> Any:
    """Declare an option as the default of a dataclass field.

    The field's annotation gives the kind: bool, int, float, str, Path, `X | None`, or
    `tuple[X, ...]` for several values after one flag.

    Parameters
    ----------
    default
        Value when the flag is absent; left out, the option is required.
    help
        One sentence.
    unit
        Shown in the help and in messages, for example "angst".
    flag
        RELION's name; `--` and the field's name when empty.
    choices
        Allowed values.
    minimum, maximum
        Inclusive bounds of a number.
    group
        Heading in the help.
    metavar
        Placeholder in the help; the unit or the kind otherwise.
    negate
        Flag that sets a boolean to False, for one that defaults to True.
    bare
        What the flag means without a value after it; None where a value must follow.
    hidden
        Known, but left out of the help.

    Returns
    -------
    Any
        A dataclass field.
    """
    said = Declaration(
        help=help, unit=unit, flag=flag, choices=None if choices is None else tuple(choices),
        minimum=minimum, maximum=maximum, group=group, metavar=metavar, negate=negate,
        bare=bare, hidden=hidden,
    )  # fmt: skip
    return dataclasses.field(default=default, metadata={_KEY: said})


def declarations(cls: type[Any]) -> dict[str, Declaration]:
    """Return the declared options of a dataclass by field name, flags filled in.

    Parameters
    ----------
    cls
        Dataclass whose fields were made by `option`; other fields are passed over.

    Returns
    -------
    dict
        Declaration by field name, in order.
    """
    found = {}
    for field in dataclasses.fields(cls):
        said = field.metadata.get(_KEY)
        if said is not None:
            flag = said.flag or f"--{field.name}"
            found[field.name] = dataclasses.replace(said, flag=flag)
    return found


def add_to_parser(parser: argparse.ArgumentParser, cls: type[Any]) -> None:
    """Add every option of `cls` to `parser`, under its group's heading.

    Values stay text here; `from_namespace` converts and checks them.

    Parameters
    ----------
    parser
        Parser to extend.
    cls
        Dataclass of options.
    """
    groups: dict[str, argparse._ArgumentGroup] = {}
    defaults = {field.name: field.default for field in dataclasses.fields(cls)}
    for name, said in declarations(cls).items():
        if said.group not in groups:
            groups[said.group] = parser.add_argument_group(said.group)
        group = groups[said.group]
        kind = kind_of(cls, name)
        text = argparse.SUPPRESS if said.hidden else _help_text(said, defaults[name])
        if kind.base is bool:
            group.add_argument(
                said.flag, dest=name, action="store_true", default=_ABSENT, help=text
            )
            if said.negate is not None:
                group.add_argument(
                    said.negate, dest=name, action="store_false", default=_ABSENT,
                    help=f"the opposite of {said.flag}",
                )  # fmt: skip
            continue
        word = said.metavar or said.unit or kind_word(kind)
        if said.choices is not None:
            word = said.metavar or "{" + ",".join(map(str, said.choices)) + "}"
        count = "+" if kind.many else None if said.bare is None else "?"
        group.add_argument(
            said.flag, dest=name, default=_ABSENT, help=text, metavar=word, nargs=count,
            const=said.bare,
        )  # fmt: skip


def from_namespace(cls: type[T], namespace: argparse.Namespace) -> T:
    """Make an instance of `cls` from parsed flags, every value converted and checked.

    Parameters
    ----------
    cls
        Dataclass of options.
    namespace
        What the parser read; absent names take the declared default.

    Returns
    -------
    T
        The options.

    Raises
    ------
    InputError
        An option is required and absent, or its value is of the wrong kind or out of bounds.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, said in declarations(cls).items():
        given = getattr(namespace, name, _ABSENT)
        if given is _ABSENT:
            if defaults[name] is MISSING:
                raise InputError(f"{said.flag} is required: {said.help}")
            values[name] = defaults[name]
            continue
        values[name] = checked(
            said.flag, given, kind_of(cls, name),
            choices=said.choices, minimum=said.minimum, maximum=said.maximum, unit=said.unit,
        )  # fmt: skip
    return cls(**values)


def options_as_dict(instance: Any) -> dict[str, Any]:
    """Return the options of an instance as plain values for a log or a table.

    Parameters
    ----------
    instance
        An instance of a dataclass of options.

    Returns
    -------
    dict
        Value by field name: None, bool, int, float, str or a tuple of them; paths as text.
    """
    plain: dict[str, Any] = {}
    for name in declarations(type(instance)):
        value = getattr(instance, name)
        known = value is None or isinstance(value, bool | int | float | str | tuple)
        plain[name] = value if known else str(value)
    return plain


def _help_text(said: Declaration, default: Any) -> str:
    parts = [said.help]
    if said.unit is not None:
        parts.append(f"[{said.unit}]")
    if default is MISSING:
        parts.append("(required)")
    elif isinstance(default, bool):
        parts.append(f"(default: {'on' if default else 'off'})")
    elif default not in (None, "", ()):
        parts.append(f"(default: {default})")
    return " ".join(parts).replace("%", "%%")
