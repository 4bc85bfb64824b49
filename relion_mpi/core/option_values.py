"""From the text after a flag to a checked value."""

from __future__ import annotations

import math
import types
import typing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from relion_mpi.core.errors import InputError

_WORDS = {bool: "flag", int: "int", float: "float", str: "text", Path: "path"}
_EXPECTED = {int: "a whole number", float: "a number", str: "text", Path: "a path"}


@dataclass(frozen=True, slots=True)
class Kind:
    """What a field's annotation allows."""

    base: type
    many: bool
    optional: bool


def kind_of(cls: type[Any], name: str) -> Kind:
    """Read the kind of a field from its annotation.

    Parameters
    ----------
    cls
        Dataclass.
    name
        Field of `cls`.

    Returns
    -------
    Kind
        Base type, whether there may be several values, whether None is allowed.

    Raises
    ------
    TypeError
        The annotation is not one that an option can have; a mistake in the program.
    """
    known: Any = cls  # mypy takes a class of Any for something without a hash
    annotation = _annotations(known)[name]
    optional = False
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        inner = [one for one in typing.get_args(annotation) if one is not types.NoneType]
        optional = len(inner) < len(typing.get_args(annotation))
        annotation = inner[0] if len(inner) == 1 else None
    many = typing.get_origin(annotation) is tuple
    if many:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) is typing.Literal:
        annotation = type(typing.get_args(annotation)[0])
    if annotation not in _WORDS:
        raise TypeError(f"{cls.__name__}.{name}: an option cannot have this annotation")
    return Kind(base=annotation, many=many, optional=optional)


@cache
def _annotations(cls: type[Any]) -> dict[str, Any]:
    """Evaluate the annotations of a class once: it is slow, and there are many options."""
    # Path is often imported for type checkers only, so it is handed in.
    return typing.get_type_hints(cls, localns={"Path": Path})


def kind_word(kind: Kind) -> str:
    """Return the placeholder for a value in the help.

    Parameters
    ----------
    kind
        Kind of the option.

    Returns
    -------
    str
        For example "int" or "path".
    """
    return _WORDS[kind.base]


def checked(
    flag: str,
    given: Any,
    kind: Kind,
    *,
    choices: tuple[Any, ...] | None,
    minimum: float | None,
    maximum: float | None,
    unit: str | None,
) -> Any:
    """Convert what was given for `flag` and hold it against its bounds.

    Parameters
    ----------
    flag
        Name for the message.
    given
        Text or a value; a list of them when the kind takes many.
    kind
        What is expected.
    choices, minimum, maximum, unit
        As declared.

    Returns
    -------
    Any
        A value of the kind.

    Raises
    ------
    InputError
        The value cannot be used; says flag, value and what was expected.
    """
    if given is None and kind.optional:
        return None
    expected = _expectation(kind, choices, minimum, maximum, unit)
    found = list(given) if kind.many else [given]
    values = []
    for one in found:
        value = _converted(one, kind.base)
        too_low = minimum is not None and value is not None and value < minimum
        too_high = maximum is not None and value is not None and value > maximum
        if value is None or too_low or too_high or (choices is not None and value not in choices):
            raise InputError(f"{flag}: found '{one}', expected {expected}")
        values.append(value)
    return tuple(values) if kind.many else values[0]


def _converted(given: Any, base: type) -> Any:
    """Return `given` as `base`, or None if it is not one."""
    if base is bool:
        return given if isinstance(given, bool) else None
    try:
        value = base(given)
    except (TypeError, ValueError):
        return None
    if base is float and not math.isfinite(value):
        return None
    return value


def _expectation(
    kind: Kind,
    choices: tuple[Any, ...] | None,
    minimum: float | None,
    maximum: float | None,
    unit: str | None,
) -> str:
    if choices is not None:
        return "one of " + ", ".join(str(one) for one in choices)
    text = _EXPECTED.get(kind.base, "a flag without a value")
    if minimum is not None and maximum is not None:
        text += f" from {minimum:g} to {maximum:g}"
    elif minimum is not None:
        text += f", at least {minimum:g}"
    elif maximum is not None:
        text += f", at most {maximum:g}"
    return text if unit is None else f"{text} ({unit})"
