"""Model and schedule as plain values and arrays, and back."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from relion_mpi.model.state import Accuracy, HalfModel, Model
from relion_mpi.refine.class_schedule import ClassSchedule, InitialSchedule, PlanarSchedule
from relion_mpi.refine.schedule import BaseSchedule, Changes, Schedule

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

T = TypeVar("T")

_SCHEDULES: dict[str, type[BaseSchedule]] = {
    "refine3d": Schedule, "class3d": ClassSchedule, "class2d": PlanarSchedule,
    "initialmodel": InitialSchedule,
}  # fmt: skip
"""By the command of the program."""
FIRST_COMMAND = "refine3d"
"""The only one when states did not name it."""


def taken_apart(
    model: Model, schedule: BaseSchedule, *, with_maps: bool
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Divide model and schedule into what JSON can say and arrays.

    Parameters
    ----------
    model, schedule
        Of a run.
    with_maps
        Whether the maps are wanted too.

    Returns
    -------
    about : dict
        Plain values by section and field, and the command of the program.
    arrays : dict
        By section/field; the arrays of the model themselves.
    """
    command = next(name for name, cls in _SCHEDULES.items() if type(schedule) is cls)
    about: dict[str, Any] = {"command": command}
    arrays: dict[str, NDArray[Any]] = {}
    for section, part in _sections(model, schedule).items():
        about[section] = {}
        for field in dataclasses.fields(part):
            value = getattr(part, field.name)
            if isinstance(value, np.ndarray | np.generic):
                # A numpy scalar stays one: next to float32 arrays it does other sums than a float.
                if with_maps or field.name != "maps":
                    arrays[f"{section}/{field.name}"] = np.asarray(value)
            elif not (isinstance(value, list) or dataclasses.is_dataclass(value)):
                about[section][field.name] = value
    return about, arrays


def put_together(
    about: Mapping[str, Any], arrays: Arrays, maps: Sequence[NDArray[Any]] | None = None
) -> tuple[Model, BaseSchedule]:
    """Make model and schedule of what `taken_apart` returned.

    Parameters
    ----------
    about, arrays
        May hold more than that.
    maps
        Of each half-set, where `arrays` has none.

    Returns
    -------
    model : Model
    schedule : BaseSchedule
        As they were, to the last bit.
    """
    names = sorted(name for name in about if name.startswith("half"))
    more: list[dict[str, Any]] = [{}] * len(names)
    if maps is not None:
        more = [{"maps": one} for one in maps]
    model = _made(
        Model, "model", about, arrays, accuracy=_made(Accuracy, "accuracy", about, arrays),
        halves=[
            _made(HalfModel, name, about, arrays, **given)
            for name, given in zip(names, more, strict=True)
        ],
    )  # fmt: skip
    schedule = _made(
        _SCHEDULES[about.get("command", FIRST_COMMAND)], "schedule", about, arrays,
        changes=_made(Changes, "changes", about, arrays),
        smallest=_made(Changes, "smallest", about, arrays),
    )  # fmt: skip
    return model, schedule


def _sections(model: Model, schedule: BaseSchedule) -> dict[str, Any]:
    """Return every part of a state that is a dataclass without others in it."""
    halves = {f"half{h}": half for h, half in enumerate(model.halves, 1)}
    return {
        "model": model, "accuracy": model.accuracy, **halves, "schedule": schedule,
        "changes": schedule.changes, "smallest": schedule.smallest,
    }  # fmt: skip


def _made(cls: type[T], section: str, about: Mapping[str, Any], arrays: Arrays, **more: Any) -> T:
    stored = about[section] | {
        name.removeprefix(f"{section}/"): array
        for name, array in arrays.items()
        if name.startswith(f"{section}/")
    }
    return cls(**stored, **more)
