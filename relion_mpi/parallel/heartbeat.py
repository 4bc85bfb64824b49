"""A rank that neither answers nor works ends the job, with its name, instead of hanging it.

Workers send a sign of life whenever they wait for MPI (`Pulse`); the master, whenever it waits,
notes who was silent for how long (`Watch`). Nothing here runs in a thread of its own: only the main
thread of a rank talks to MPI, and it polls anyway.
"""

from __future__ import annotations

import faulthandler
import io
import os
import socket
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from relion_mpi.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

VARIABLE = "RELION_MPI_STALL_SECONDS"
DEFAULT_SECONDS = 600.0
PATIENCE = 6.0
"""Times longer may last what a rank's main thread does itself, and a task that uses the processor:
both may just be large."""

_LONGEST_PERIOD = 30.0
_SIGNS_PER_LIMIT = 20
# Of one core: waiting threads use none, a thread that works uses all.
_LEAST_WORK = 0.01


class StalledError(Exception):
    """A rank has stalled; the message says which and where."""


class Alive(NamedTuple):
    """A worker's sign of life.

    Attributes
    ----------
    host : where it runs
    doing : what its main thread does next, without signs of life meanwhile; empty if it waits
    stalled_seconds : how long its threads have made no progress, if that is too long; else 0
    """

    host: str
    doing: str = ""
    stalled_seconds: float = 0.0


def stall_seconds() -> float:
    """Return how long a rank may be silent; the environment may say.

    Returns
    -------
    float
        Seconds; infinite for RELION_MPI_STALL_SECONDS=0.

    Raises
    ------
    InputError
        RELION_MPI_STALL_SECONDS is no number of seconds.
    """
    text = os.environ.get(VARIABLE, "")
    try:
        seconds = float(text) if text else DEFAULT_SECONDS
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise InputError(
            f"environment variable {VARIABLE}: found '{text}', expected seconds such as 600, or 0 "
            "to wait for silent ranks for ever; correct or unset it"
        )
    return seconds or float("inf")


class Pulse:
    """A worker's side: send signs of life, and notice when the own threads stall.

    Parameters
    ----------
    send
        Takes an Alive to the master without waiting.
    rank
        For messages.
    limit
        Seconds without progress that are too long; the master's.
    clock, work_seconds
        Wall time, and processor time of this process's other threads; for tests.

    Attributes
    ----------
    period : seconds between two signs of life
    """

    def __init__(
        self,
        send: Callable[[Alive], None],
        rank: int,
        limit: float,
        clock: Callable[[], float] = time.monotonic,
        work_seconds: Callable[[], float] | None = None,
    ) -> None:
        self._send, self._rank, self._limit, self._clock = send, rank, limit, clock
        self._work_seconds = work_seconds or _work_of_others
        self._host = socket.gethostname()
        self.period = min(limit / _SIGNS_PER_LIMIT, _LONGEST_PERIOD)
        self._last = self._moved = self._worked = clock()
        self._used = self._work_seconds()
        self._has_dumped = False
        send(Alive(self._host))

    def moved(self) -> None:
        """Note that a task came or was finished."""
        self._moved = self._clock()
        self._has_dumped = False

    def announce(self, doing: str) -> None:
        """Say what the main thread does next; empty when that is over.

        Parameters
        ----------
        doing
            A few words for a message.
        """
        self._send(Alive(self._host, doing))
        if not doing:
            self._last = self._moved = self._clock()

    def poll(self, *, is_working: bool) -> None:
        """Send a sign of life if it is time to; called whenever the main thread polls.

        Parameters
        ----------
        is_working
            The worker has tasks in hand, so its threads must make progress.
        """
        now = self._clock()
        since = now - self._last
        if since < self.period:
            return
        used, self._last = self._work_seconds(), now
        if used - self._used > _LEAST_WORK * since:
            self._worked = now
        self._used = used
        if not is_working or since > self._limit / 2:
            # Nothing to do; or this process, or its host, was asleep as a whole.
            self._moved = self._worked = now
        self._send(Alive(self._host, "", self._stalled(now)))

    def _stalled(self, now: float) -> float:
        """Return how long nothing has moved if that is too long; dump stacks the first time."""
        still = now - self._moved
        idle = now - max(self._moved, self._worked)
        if idle <= self._limit and still <= PATIENCE * self._limit:
            return 0.0
        if not self._has_dumped:
            self._has_dumped = True
            _dump(f"relion-mpi: rank {self._rank} on {self._host}: no progress for {still:.0f} s")
        return still


class Watch:
    """The master's side: who was heard when.

    Parameters
    ----------
    ranks
        Of the workers.
    limit
        Seconds of silence that are too long.
    clock
        For tests.

    Notes
    -----
    Silence is counted while the master listens: not during its own work between two calls of
    `check`, or while its process is stopped.
    """

    def __init__(
        self, ranks: Iterable[int], limit: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit, self._clock = limit, clock
        self._listened, self._last = 0.0, clock()
        self._heard = dict.fromkeys(ranks, 0.0)
        self._signs: dict[int, Alive] = {}

    def heard(self, rank: int, sign: Alive | None = None) -> None:
        """Note a sign of life.

        Parameters
        ----------
        rank
            Of the worker.
        sign
            What it said; None for a result.

        Raises
        ------
        StalledError
            It says that its threads make no progress.
        """
        self._heard[rank] = self._listened
        if sign is None:
            return
        self._signs[rank] = sign
        if sign.stalled_seconds:
            raise no_progress(rank, sign)

    def host(self, rank: int) -> str:
        """Return where a worker runs, as far as it has said so."""
        return self._signs.get(rank, Alive("an unknown host")).host

    def only(self, ranks: Iterable[int]) -> None:
        """Watch these alone from now on: the others have died.

        Parameters
        ----------
        ranks
            Of the workers.
        """
        self._heard = dict.fromkeys(ranks, self._listened)

    def check(self) -> None:
        """See whether all have been heard lately; call it after all messages have been taken.

        Raises
        ------
        StalledError
            Some worker was silent for too long.
        """
        now = self._clock()
        # A long time between two calls is the master's own, and signs may still be on their way.
        self._listened += min(now - self._last, self._limit / _SIGNS_PER_LIMIT)
        self._last = now
        silent = [self._told(rank) for rank in self._heard if self._is_silent(rank)]
        if silent:
            raise StalledError(f"{'; '.join(silent)}; {_ADVICE}")

    def _is_silent(self, rank: int) -> bool:
        sign = self._signs.get(rank)
        limit = self._limit * (PATIENCE if sign is not None and sign.doing else 1.0)
        return self._listened - self._heard[rank] > limit

    def _told(self, rank: int) -> str:
        sign = self._signs.get(rank)
        doing = f" ({sign.doing})" if sign is not None and sign.doing else ""
        seconds = self._listened - self._heard[rank]
        return f"rank {rank} on {self.host(rank)}{doing} has been silent for {seconds:.0f} s"


def no_progress(rank: int, sign: Alive) -> StalledError:
    """Make the error for a rank that says that its threads stall.

    Parameters
    ----------
    rank
        The rank.
    sign
        What it said.
    """
    return StalledError(
        f"rank {rank} on {sign.host} has made no progress for {sign.stalled_seconds:.0f} s "
        f"(its threads' stacks are above); {_ADVICE}"
    )


_ADVICE = (
    "is the process stopped, the node or its network down, or a file system not answering? All "
    f"ranks end now; {VARIABLE} sets the limit in seconds"
)


def _work_of_others() -> float:
    """Return the processor time of all threads but the calling one."""
    return time.process_time() - time.thread_time()


def _dump(title: str) -> None:
    """Write the stacks of all threads to stderr."""
    try:
        sys.stderr.write(f"{title}; its threads:\n")
        sys.stderr.flush()
        faulthandler.dump_traceback(sys.stderr, all_threads=True)
    except (OSError, ValueError, AttributeError, RuntimeError, io.UnsupportedOperation):
        return  # nobody reads us any more; the master ends the job all the same
