"""Wait for MPI without keeping a core busy.

MPI libraries spin while they wait. Ranks may outnumber cores here, and the master mostly waits, so
every wait tests and then sleeps, at most a millisecond at a time.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpi4py import MPI

_SHORTEST_SECONDS = 2e-5
_LONGEST_SECONDS = 1e-3


def until(ready: Callable[[], bool], longest: float = _LONGEST_SECONDS) -> None:
    """Sleep until `ready()`, asking after 20 microseconds, then ever less often.

    Parameters
    ----------
    ready
        Tests, and by testing lets MPI progress.
    longest
        Longest sleep in seconds.
    """
    pause = _SHORTEST_SECONDS
    while not ready():
        time.sleep(pause)
        pause = min(2 * pause, longest)


def barrier(comm: MPI.Comm) -> None:
    """Wait until every rank of `comm` is here; collective.

    Parameters
    ----------
    comm
        Communicator.
    """
    until(comm.Ibarrier().Test)


def receive(comm: MPI.Intracomm, source: int, tag: int, patience: float | None = None) -> Any:
    """Receive a pickled object; the partner is a send with the same tag.

    Parameters
    ----------
    comm
        Communicator.
    source
        Rank.
    tag
        Tag.
    patience
        Seconds after which to give up; None waits for ever.

    Returns
    -------
    Any
        The object, or None if there was none in time.
    """
    deadline = float("inf") if patience is None else time.monotonic() + patience
    message: MPI.Message | None = None

    def arrived() -> bool:
        nonlocal message
        message = comm.improbe(source=source, tag=tag)
        return message is not None or time.monotonic() >= deadline

    until(arrived)
    return None if message is None else message.recv()
