"""The state of a run after an iteration, in full precision: one HDF5 file with its checksum.

Datasets hold arrays as they are; the dataset `about` holds the rest as JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from relion_mpi import __version__
from relion_mpi.core.errors import InputError
from relion_mpi.core.options import options_as_dict
from relion_mpi.refine.outputs.names import partials_of, states_of
from relion_mpi.refine.record import RunState
from relion_mpi.refine.state_file import BrokenFileError, Contents, read_checked, write_checked
from relion_mpi.refine.state_parts import FIRST_COMMAND, put_together, taken_apart

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from relion_mpi.model.state import Model
    from relion_mpi.refine.record import IterationRecord
    from relion_mpi.refine.schedule import BaseSchedule

FORMAT = 2
N_KEPT = 2
"""State files of a run that are kept: the last one, and another should it be broken."""

_BELONGING_TO_THE_JOB = ("continue_", "pipeline_control")
"""Options that say nothing of the refinement."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What a state file holds.

    Attributes
    ----------
    path : the file
    sha256 : its checksum
    iteration : that was completed
    options : plain values by field of the options
    model, schedule : after the iteration
    run : the rest
    """

    path: Path
    sha256: str
    iteration: int
    options: Mapping[str, Any]
    model: Model
    schedule: BaseSchedule
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
    parts, arrays = taken_apart(record.model, record.schedule, with_maps=True)
    arrays |= record.run.named()
    options = options_as_dict(record.options)
    about = {
        "version": __version__,
        "iteration": record.iteration,
        "options": {k: v for k, v in options.items() if k not in _BELONGING_TO_THE_JOB},
        "names_sha256": record.run.names_sha256,
        "random": record.run.random,
    }
    write_checked(path, FORMAT, about | parts, arrays)


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
    found = _contents(path, with_arrays=True)
    about = found.about
    model, schedule = put_together(about, found.arrays)
    run = RunState.from_named(found.arrays, about["names_sha256"], about["random"])
    return Saved(path, found.sha256, about["iteration"], about["options"], model, schedule, run)


def read_options(path: Path) -> dict[str, Any]:
    """Read the options of a run alone, which is quick; the checksum is not looked at.

    Parameters
    ----------
    path
        File that `write_state` wrote.

    Returns
    -------
    dict
        Plain values by field of the options.

    Raises
    ------
    InputError
        The file is broken or of another version; names the one before it.
    """
    return dict(_contents(path, with_arrays=False).about["options"])


def read_command(path: Path) -> str:
    """Read which command's run a state is of, which is quick; the checksum is not looked at.

    Parameters
    ----------
    path
        File that `write_state` wrote.

    Returns
    -------
    str
        For example "refine3d".

    Raises
    ------
    InputError
        The file is broken or of another version; names the one before it.
    """
    return str(_contents(path, with_arrays=False).about.get("command", FIRST_COMMAND))


def read_sha256(path: Path) -> str:
    """Read the checksum that is written in a state, which is quick; it is not compared.

    Parameters
    ----------
    path
        File that `write_state` wrote.

    Returns
    -------
    str
        Hexadecimal.

    Raises
    ------
    InputError
        The file is broken or of another version; names the one before it.
    """
    return _contents(path, with_arrays=False).sha256


def drop_old_states(root: Path, iteration: int | None) -> None:
    """Remove the states of a run before the last `N_KEPT`, and what was saved within iterations.

    Parameters
    ----------
    root
        RELION's --o root name.
    iteration
        The last one, whose state is in place; None after the final one, which has no state.
    """
    if iteration is not None:
        earlier = [path for number, path in states_of(root) if number <= iteration]
        for path in earlier[:-N_KEPT]:
            path.unlink(missing_ok=True)
    for _, path in partials_of(root):
        path.unlink(missing_ok=True)


def _contents(path: Path, *, with_arrays: bool) -> Contents:
    try:
        found = read_checked(path, with_arrays=with_arrays)
    except BrokenFileError as error:
        raise InputError(_broken(path, str(error))) from error
    if found.format != FORMAT:
        msg = (
            f"{path}: the state is of format {found.format}, expected {FORMAT}; continue with the "
            f"version of relion-mpi that wrote it ({found.about.get('version')})"
        )
        raise InputError(msg)
    return found


def _broken(path: Path, what: str) -> str:
    root, _, number = path.name.removesuffix("_state.h5").rpartition("_it")
    before = [one for n, one in states_of(path.with_name(root)) if n < int(number or 0)]
    cure = "start anew with --i, --ref and --o"
    if before:
        name = before[-1].name.replace("_state.h5", "_optimiser.star")
        cure = f"go on from the one before it: --continue {path.with_name(name)}"
    return f"{path}: the state is broken: {what}; {cure}"
