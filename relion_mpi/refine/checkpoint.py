"""The state of a run after an iteration, in full precision: one HDF5 file with its checksum.

Datasets hold arrays as they are; the dataset `about` holds the rest as JSON. A later format may
add groups (the state within an iteration) without changing these.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import h5py
import numpy as np

from relion_mpi import __version__
from relion_mpi.core.errors import InputError
from relion_mpi.core.options import options_as_dict
from relion_mpi.io.atomic import replacing
from relion_mpi.model.state import Accuracy, HalfModel, Model
from relion_mpi.refine.outputs.names import states_of
from relion_mpi.refine.record import RunState
from relion_mpi.refine.schedule import Changes, Schedule

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from relion_mpi.refine.record import IterationRecord

    Arrays = Mapping[str, NDArray[Any]]

FORMAT = 1
N_KEPT = 2
"""State files of a run that are kept: the last one, and another should it be broken."""

_BELONGING_TO_THE_JOB = ("continue_", "pipeline_control")
"""Options that say nothing of the refinement."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Saved:
    """What a state file holds.

    Attributes
    ----------
    path : the file
    iteration : that was completed
    options : plain values by field of RefineOptions
    model, schedule : after the iteration
    run : the rest
    """

    path: Path
    iteration: int
    options: Mapping[str, Any]
    model: Model
    schedule: Schedule
    run: RunState


def write_state(path: Path, record: IterationRecord) -> None:
    """Write the state after an iteration.

    Parameters
    ----------
    path
        File; whole or not at all.
    record
        Of the iteration, with its `run`.

    Raises
    ------
    OSError
        It cannot be written.
    """
    assert record.run is not None
    options = options_as_dict(record.options)
    about: dict[str, Any] = {
        "version": __version__,
        "iteration": record.iteration,
        "options": {k: v for k, v in options.items() if k not in _BELONGING_TO_THE_JOB},
        "names_sha256": record.run.names_sha256,
        "random": record.run.random,
    }
    arrays: dict[str, NDArray[Any]] = {
        f"particles/{name}": column for name, column in record.run.particles.items()
    }
    for section, part in _sections(record.model, record.schedule).items():
        about[section] = {}
        for field in dataclasses.fields(part):
            value = getattr(part, field.name)
            if isinstance(value, np.ndarray | np.generic):
                # A numpy scalar stays one: next to float32 arrays it does other sums than a float.
                arrays[f"{section}/{field.name}"] = np.asarray(value)
            elif not (isinstance(value, list) or dataclasses.is_dataclass(value)):
                about[section][field.name] = value
    text = json.dumps(about)
    try:
        with replacing(path) as temporary, h5py.File(temporary, "w", locking=False) as file:
            file.attrs["format"] = FORMAT
            file.attrs["sha256"] = _digest(text, arrays)
            file["about"] = text
            for name, array in arrays.items():
                file[name] = array
    except RuntimeError as error:  # of a file that cannot be closed
        raise OSError(str(error)) from error


def read_state(path: Path) -> Saved:
    """Read a state and compare its checksum.

    Parameters
    ----------
    path
        File that `write_state` wrote.

    Returns
    -------
    Saved
        As it was, to the last bit.

    Raises
    ------
    InputError
        The file is broken or of another version; names the one before it.
    """
    about, arrays = _contents(path, with_arrays=True)
    model = _made(
        Model, "model", about, arrays, accuracy=_made(Accuracy, "accuracy", about, arrays),
        halves=[
            _made(HalfModel, section, about, arrays)
            for section in sorted(name for name in about if name.startswith("half"))
        ],
    )  # fmt: skip
    schedule = _made(
        Schedule, "schedule", about, arrays, changes=_made(Changes, "changes", about, arrays),
        smallest=_made(Changes, "smallest", about, arrays),
    )  # fmt: skip
    columns = {
        name.removeprefix("particles/"): array
        for name, array in arrays.items()
        if name.startswith("particles/")
    }
    run = RunState(columns, about["names_sha256"], about["random"])
    return Saved(path, about["iteration"], about["options"], model, schedule, run)


def read_options(path: Path) -> dict[str, Any]:
    """Read the options of a run alone, which is quick; the checksum is not looked at.

    Parameters
    ----------
    path
        File that `write_state` wrote.

    Returns
    -------
    dict
        Plain values by field of RefineOptions.

    Raises
    ------
    InputError
        The file is broken or of another version; names the one before it.
    """
    return dict(_contents(path, with_arrays=False)[0]["options"])


def drop_old_states(root: Path, iteration: int) -> None:
    """Remove the states of a run before the last `N_KEPT`.

    Parameters
    ----------
    root
        RELION's --o root name.
    iteration
        The last one, whose state is in place.
    """
    earlier = [path for number, path in states_of(root) if number <= iteration]
    for path in earlier[:-N_KEPT]:
        path.unlink(missing_ok=True)


def _sections(model: Model, schedule: Schedule) -> dict[str, Any]:
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


def _digest(text: str, arrays: Arrays) -> str:
    made = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        made.update(f"{name} {array.dtype.str} {np.shape(arrays[name])}".encode())
        made.update(array.reshape(-1).view(np.uint8).data)
    return made.hexdigest()


def _contents(path: Path, *, with_arrays: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return `about` and the arrays; these only after their checksum was compared."""
    arrays: dict[str, Any] = {}

    def take(name: str, item: Any) -> None:
        if name != "about" and isinstance(item, h5py.Dataset):
            arrays[name] = item[()]

    try:
        with h5py.File(path, "r", locking=False) as file:
            version = int(file.attrs["format"])
            text, written = file["about"][()].decode(), str(file.attrs["sha256"])
            if with_arrays:
                file.visititems(take)
        about = json.loads(text)
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise InputError(_broken(path, f"it cannot be read ({error})")) from error
    if version != FORMAT:
        msg = (
            f"{path}: the state is of format {version}, expected {FORMAT}; continue with the "
            f"version of relion-mpi that wrote it ({about.get('version')})"
        )
        raise InputError(msg)
    if with_arrays and _digest(text, arrays) != written:
        raise InputError(_broken(path, "its content does not have the checksum written with it"))
    return about, arrays


def _broken(path: Path, what: str) -> str:
    root, _, number = path.name.removesuffix("_state.h5").rpartition("_it")
    before = [one for n, one in states_of(path.with_name(root)) if n < int(number or 0)]
    cure = "start anew with --i, --ref and --o"
    if before:
        name = before[-1].name.replace("_state.h5", "_optimiser.star")
        cure = f"go on from the one before it: --continue {path.with_name(name)}"
    return f"{path}: the state is broken: {what}; {cure}"
