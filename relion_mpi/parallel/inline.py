"""A crew of one: master and worker in the same process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.core.timing import Account
from relion_mpi.parallel import abort
from relion_mpi.parallel.comm import World
from relion_mpi.parallel.heartbeat import Alive, Pulse, StalledError, no_progress, stall_seconds
from relion_mpi.parallel.lanes import Lanes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from relion_mpi.parallel.crew import Arrays, OnResult, Stop, Worker
    from relion_mpi.parallel.messages import Result


class InlineCrew:
    """Run tasks in threads of this process.

    Parameters
    ----------
    worker
        Does the work.
    n_lanes
        Tasks worked on at once.
    """

    def __init__(self, worker: Worker, n_lanes: int = 1) -> None:
        self.n_workers = 1
        self._worker = worker
        self._n_lanes = n_lanes
        self._lanes = Lanes(worker, n_lanes)
        self._timings: dict[int, dict[str, float]] = {}
        self._account = Account()
        self._pulse = Pulse(_notice, 0, stall_seconds())

    def begin(self, message: Any, arrays: Arrays, *, keeps_sums: bool = False) -> None:
        """See `Crew.begin`; the arrays are handed over without a copy."""
        with self._account.span("begin_seconds"):
            self._worker.begin(message, dict(arrays))

    def run(
        self,
        tasks: Sequence[Any],
        on_result: OnResult,
        stop: Stop | None = None,
        *,
        summed: bool = True,
    ) -> None:
        """See `Crew.run`."""
        start = time.perf_counter()
        spans: dict[str, float] = {}
        index = 0
        while True:
            # Those worked on, and one whose data are being read.
            while index < len(tasks) and self._lanes.n_held <= self._n_lanes:
                if stop is not None and stop():
                    index = len(tasks)
                    break
                self._lanes.submit(index, tasks[index])
                index += 1
            if not self._lanes.n_held:
                break
            result = self._next_result()
            for name, seconds in result.seconds.items():
                spans[name] = spans.get(name, 0.0) + seconds / self._n_lanes
            on_result(result.number, result.value)
        self._timings = {0: with_idle(spans, time.perf_counter() - start)}

    def _next_result(self) -> Result:
        """Wait for a result; ends the job if the threads stall."""
        self._pulse.moved()
        while (result := self._lanes.take(self._pulse.period)) is None:
            try:
                self._pulse.poll(is_working=True)
            except StalledError:
                abort.end_soon(World(None, 0, 1))
                raise
        return result

    def reduce(self, shapes: Sequence[tuple[int, ...]]) -> list[npt.NDArray[np.float64]]:
        """See `Crew.reduce`; the arrays are copies."""
        with self._account.span("reduce_pack_seconds"):
            sums = self._worker.sums()
        check_sizes([one.size for one in sums], shapes)
        return [
            np.array(one, dtype=np.float64).reshape(shape)
            for one, shape in zip(sums, shapes, strict=True)
        ]

    def timings(self) -> dict[int, dict[str, float]]:
        """See `Crew.timings`."""
        return {rank: dict(seconds) for rank, seconds in self._timings.items()}

    def accounts(self) -> dict[int, dict[str, float]]:
        """See `Crew.accounts`."""
        return {0: {**self._worker.counts(), **self._account.take()}}

    def close(self) -> None:
        """See `Crew.close`."""
        self._lanes.close()


def _notice(sign: Alive) -> None:
    """Do with a sign of life what the master of several ranks does."""
    if sign.stalled_seconds:
        raise no_progress(0, sign)


def with_idle(spans: dict[str, float], wall: float) -> dict[str, float]:
    """Complete a worker's spans with the time it had nothing to do.

    Parameters
    ----------
    spans
        Seconds under "prepare_wait" and "work"; either may be absent.
    wall
        Seconds of the whole run.

    Returns
    -------
    dict
        Seconds under "prepare_wait", "work" and "idle".
    """
    wait = spans.get("prepare_wait", 0.0)
    work = spans.get("work", 0.0)
    return {"prepare_wait": wait, "work": work, "idle": max(wall - wait - work, 0.0)}


def check_sizes(sizes: Sequence[int], shapes: Sequence[tuple[int, ...]]) -> None:
    """Refuse to add arrays of sizes that the master does not expect.

    Parameters
    ----------
    sizes
        Elements of each array of `Worker.sums`.
    shapes
        What `Crew.reduce` was asked for.

    Raises
    ------
    ValueError
        They differ; a mistake in the program.
    """
    expected = [int(np.prod(shape)) for shape in shapes]
    if list(sizes) != expected:
        raise ValueError(f"sums have sizes {list(sizes)}, the master expects {expected}")
