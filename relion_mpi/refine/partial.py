"""An iteration in its middle: what was found and summed so far, in one file beside the states.

The file belongs to the state before it, which has the maps: it names that state's checksum.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi import __version__
from relion_mpi.refine.record import RunState
from relion_mpi.refine.state_file import BrokenFileError, read_checked, write_checked
from relion_mpi.refine.state_parts import put_together, taken_apart

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from relion_mpi.dataset.batches import Batch
    from relion_mpi.model.state import Model
    from relion_mpi.refine.checkpoint import Saved
    from relion_mpi.refine.schedule import BaseSchedule

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Partial:
    """An iteration of which some batches are done.

    Attributes
    ----------
    iteration : number
    work : says which batches there are and in which precision they are done
    model, schedule : as the iteration was planned with them
    run : particles as they are now, "left_out" among them; the random generator
    done : bool (n_batch,)
    moved : float64 (n_particles, 3), see `relion_mpi.refine.hidden.HiddenVariables`
    taken : bool (n_particles,) those that have a result
    sums : of all ranks, as `relion_mpi.refine.reduction.sum_shapes` says
    """

    iteration: int
    work: str
    model: Model
    schedule: BaseSchedule
    run: RunState
    done: NDArray[np.bool_]
    moved: NDArray[np.float64]
    taken: NDArray[np.bool_]
    sums: Sequence[NDArray[np.float64]]


def describe_work(batches: Sequence[Batch], precision: str) -> str:
    """Say which batches there are and how they are done.

    Parameters
    ----------
    batches
        Of the run.
    precision
        Of the E-step.

    Returns
    -------
    str
        The same for the same work.
    """
    made = hashlib.sha256()
    for batch in batches:
        made.update(np.array([batch.half, batch.particles.size], np.int64).tobytes())
        made.update(np.ascontiguousarray(batch.particles).tobytes())
    return f"{precision} {made.hexdigest()}"


def write_partial(path: Path, partial: Partial, state_sha256: str) -> None:
    """Write what was done of an iteration.

    Parameters
    ----------
    path
        File; whole or not at all.
    partial
        Nothing in it may change meanwhile.
    state_sha256
        Checksum of the state that the iteration began from.

    Raises
    ------
    OSError
        It cannot be written.
    """
    parts, arrays = taken_apart(partial.model, partial.schedule, with_maps=False)
    arrays |= partial.run.named()
    arrays |= {name: getattr(partial, name) for name in ("done", "moved", "taken")}
    arrays |= {f"sums/{place:03d}": one for place, one in enumerate(partial.sums)}
    about = {
        "version": __version__,
        "iteration": partial.iteration,
        "work": partial.work,
        "state_sha256": state_sha256,
        "names_sha256": partial.run.names_sha256,
        "random": partial.run.random,
    }
    write_checked(path, FORMAT, about | parts, arrays)


def read_partial(path: Path, saved: Saved, work: str) -> Partial:
    """Read what was done of the iteration after a state.

    Parameters
    ----------
    path
        File that `write_partial` wrote.
    saved
        The state; its maps become those of the model.
    work
        What `describe_work` says of the job that goes on.

    Returns
    -------
    Partial
        As it was, to the last bit.

    Raises
    ------
    BrokenFileError
        It cannot be used; the message says why.
    """
    about = _usable(path, saved, work)
    found = read_checked(path, with_arrays=True)
    model, schedule = put_together(about, found.arrays, [half.maps for half in saved.model.halves])
    run = RunState.from_named(found.arrays, about["names_sha256"], about["random"])
    sums = [found.arrays[name] for name in sorted(found.arrays) if name.startswith("sums/")]
    return Partial(
        about["iteration"], about["work"], model, schedule, run, found.arrays["done"],
        found.arrays["moved"], found.arrays["taken"], sums,
    )  # fmt: skip


def _usable(path: Path, saved: Saved, work: str) -> dict[str, Any]:
    """Return what the file says of itself if it is what is looked for; quick."""
    found = read_checked(path, with_arrays=False)
    if found.format != FORMAT:
        raise BrokenFileError(f"it is of format {found.format}, expected {FORMAT}")
    if found.about.get("state_sha256") != saved.sha256:
        raise BrokenFileError(f"it does not belong to {saved.path.name}")
    if found.about.get("work") != work:
        raise BrokenFileError("its batches or their precision are not those of this job")
    return found.about
