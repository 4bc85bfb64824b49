"""Make the crew that fits the job: ranks over MPI, or this process alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from relion_mpi.parallel.inline import InlineCrew
from relion_mpi.parallel.mpi_crew import MPICrew
from relion_mpi.parallel.worker_loop import serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from relion_mpi.parallel.comm import World
    from relion_mpi.parallel.crew import Crew, Worker

T = TypeVar("T")


def led(ranks: World, worker: Worker, n_lanes: int, lead: Callable[[Crew], T]) -> T | None:
    """Lead the other ranks, or serve rank 0; collective over all ranks.

    Parameters
    ----------
    ranks
        The job.
    worker
        Does the work; unused on rank 0 of several.
    n_lanes
        Tasks that a worker works on at once.
    lead
        Called on rank 0; closes the crew.

    Returns
    -------
    T or None
        What `lead` returned; None on the other ranks.
    """
    if ranks.comm is None or ranks.size == 1:
        return lead(InlineCrew(worker, n_lanes))
    if ranks.rank == 0:
        return lead(MPICrew(ranks.comm, n_lanes))
    serve(ranks.comm, worker, n_lanes)
    return None
