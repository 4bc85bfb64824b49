"""Whether a run is going on, and how it ended."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import TYPE_CHECKING

from relion_mpi.refine import pipeline_control
from relion_mpi.refine.lock import held

if TYPE_CHECKING:
    from relion_mpi.report.gather.job import Job
    from relion_mpi.report.gather.origin import Origin

RECENT_SECONDS = 600.0


class State(StrEnum):
    """How a run is, in the word that the page shows."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"
    UNFINISHED = "unfinished"
    UNKNOWN = "unknown"


_SIGNS = (
    (pipeline_control.SUCCESS, State.FINISHED),
    (pipeline_control.FAILURE, State.FAILED),
    (pipeline_control.ABORTED, State.STOPPED),
)


def state_of(job: Job, origin: Origin) -> State:
    """Tell how a run is from what lies in its folder.

    Parameters
    ----------
    job
        Its files.
    origin
        What made it.

    Returns
    -------
    State
        A lock tells first: a job that holds it runs, a job that left it is gone. Then the files
        for RELION's interface, then whether the final files are there. What wrote something in the
        last ten minutes may be running; the rest is unfinished, or unknown where no optimiser file
        says how many iterations there are to be.
    """
    has_lock = held(job.root)
    if has_lock is not None:
        return State.RUNNING if has_lock else State.FAILED
    for name, state in _SIGNS:
        if (job.folder / name).exists():
            return state
    if not job.is_run or job.models[-1][0] is None:
        return State.FINISHED
    number = job.models[-1][0]
    if origin.is_auto is False and number == origin.last_iteration:
        return State.FINISHED
    if not job.optimisers:
        return State.UNKNOWN
    newest = max(file.stat().st_mtime for file in job.models[-1][1])
    return State.RUNNING if time.time() - newest < RECENT_SECONDS else State.UNFINISHED
