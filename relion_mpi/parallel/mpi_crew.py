"""The master's side of a crew over MPI. Its partner is `worker_loop.serve` on every other rank."""

from __future__ import annotations

import contextlib
import pickle
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.core.timing import Account
from relion_mpi.parallel import abort, buffers, quiet
from relion_mpi.parallel.comm import World
from relion_mpi.parallel.heartbeat import StalledError, Watch, stall_seconds
from relion_mpi.parallel.inline import with_idle
from relion_mpi.parallel.messages import (
    COMMAND_BYTES,
    ArrayHeader,
    Begin,
    Close,
    Reduce,
    Result,
    Tag,
    Task,
    Tell,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt
    from mpi4py import MPI

    from relion_mpi.parallel.crew import Arrays, OnResult, Stop


class MPICrew:
    """Hand tasks to all other ranks of `comm`; made on rank 0, collective with `serve`.

    Parameters
    ----------
    comm
        Communicator of the job with at least two ranks; duplicated, and freed by `close`.
    n_lanes
        Tasks that a worker works on at once, as given to `serve`.
    """

    def __init__(self, comm: MPI.Intracomm, n_lanes: int = 1) -> None:
        from mpi4py import MPI

        if comm.Get_rank() != 0 or comm.Get_size() < 2:
            raise ValueError("an MPICrew is made on rank 0 of at least two ranks")
        limit = stall_seconds()
        quiet.barrier(comm)
        self._comm = comm.Dup()
        self._comm.bcast(limit, root=0)
        self._any = MPI.ANY_SOURCE
        self.n_workers = comm.Get_size() - 1
        self._sends: list[MPI.Request] = []
        self._timings: dict[int, dict[str, float]] = {}
        self._account = Account()
        self._result_bytes = dict.fromkeys(self._workers(), 0)
        self._closed = False
        self._n_lanes = n_lanes
        self._watch = Watch(self._workers(), limit)

    def begin(self, message: Any, arrays: Arrays) -> None:
        """See `Crew.begin`; partner: `serve`, which takes the same buffers in the same order."""
        packed = np.frombuffer(pickle.dumps(message, pickle.HIGHEST_PROTOCOL), dtype=np.uint8)
        headers = tuple(ArrayHeader(name, one.shape, one.dtype) for name, one in arrays.items())
        self._to_all(Begin(packed.size, headers))
        self._meet("broadcast_wait_seconds")
        with self._account.span("broadcast_transfer_seconds"):
            buffers.broadcast(self._comm, packed)
            for one in arrays.values():
                buffers.broadcast(self._comm, np.ascontiguousarray(one))
        self._account.count(
            "bytes_sent", packed.nbytes + sum(one.nbytes for one in arrays.values())
        )

    def run(self, tasks: Sequence[Any], on_result: OnResult, stop: Stop | None = None) -> None:
        """See `Crew.run`; partner: `serve`."""
        start = time.perf_counter()
        spans = {rank: {"prepare_wait": 0.0, "work": 0.0} for rank in self._workers()}
        held = dict.fromkeys(self._workers(), 0)
        waiting = _Waiting(tasks, stop)
        # Everybody gets a first task before anybody gets a second one. The last one is that whose
        # data are read while the others are worked on.
        for _ in range(self._n_lanes + 1):
            for rank in self._workers():
                held[rank] += self._hand_out(rank, waiting)
        while any(held.values()):
            rank, result = self._next_result()
            held[rank] += self._hand_out(rank, waiting) - 1
            for name, seconds in result.seconds.items():
                spans[rank][name] += seconds / self._n_lanes
            on_result(result.number, result.value)
        self._flush()
        wall = time.perf_counter() - start
        self._timings = {rank: with_idle(one, wall) for rank, one in spans.items()}

    def reduce(self, shapes: Sequence[tuple[int, ...]]) -> list[npt.NDArray[np.float64]]:
        """See `Crew.reduce`; partner: `serve`."""
        self._to_all(Reduce(tuple(tuple(shape) for shape in shapes)))
        self._meet("reduce_wait_seconds")
        with self._account.span("reduce_transfer_seconds"):
            sums = [buffers.sum_at_master(self._comm, shape) for shape in shapes]
        self._account.count("bytes_received", sum(buffers.sum_bytes(one.size) for one in sums))
        return sums

    def timings(self) -> dict[int, dict[str, float]]:
        """See `Crew.timings`."""
        return {rank: dict(seconds) for rank, seconds in self._timings.items()}

    def accounts(self) -> dict[int, dict[str, float]]:
        """See `Crew.accounts`; partner: `serve`."""
        self._to_all(Tell())
        self._meet()
        found = dict(enumerate(self._comm.gather(self._account.take(), root=0) or []))
        for rank in self._workers():
            # Whoever receives a message knows its size; who sent it gets to know here.
            commands, results = found[rank].pop(COMMAND_BYTES, 0), self._result_bytes[rank]
            _add(found[rank], "bytes_received", commands)
            _add(found[rank], "bytes_sent", results)
            _add(found[0], "bytes_sent", commands)
            _add(found[0], "bytes_received", results)
            self._result_bytes[rank] = 0
        return found

    def close(self) -> None:
        """See `Crew.close`; `serve` returns on the other ranks."""
        if self._closed:
            return
        self._closed = True
        self._to_all(Close())
        self._meet()
        self._comm.Free()

    def _workers(self) -> range:
        return range(1, self.n_workers + 1)

    def _hand_out(self, rank: int, waiting: _Waiting) -> int:
        """Send the next task to `rank` if there is one; return how many it got."""
        found = waiting.next()
        if found is not None:
            self._send(rank, found)
        return int(found is not None)

    def _next_result(self) -> tuple[int, Result]:
        """Wait for any worker's result, letting our own sends progress."""
        from mpi4py import MPI

        status = MPI.Status()
        message: MPI.Message | None = None

        def arrived() -> bool:
            nonlocal message
            self._sends = [one for one in self._sends if not one.Test()]
            message = self._comm.improbe(source=self._any, tag=Tag.RESULT, status=status)
            return message is not None

        self._wait(arrived)
        assert message is not None
        self._watch.heard(status.Get_source())
        self._result_bytes[status.Get_source()] += status.Get_count(MPI.BYTE)
        return status.Get_source(), message.recv()

    def _wait(self, ready: Callable[[], bool], longest: float = 1e-3) -> None:
        """Wait, and end the job if a worker stalls meanwhile."""

        def is_over() -> bool:
            try:
                self._listen()
            except StalledError:
                abort.end_soon(World(self._comm, 0, self.n_workers + 1))
                raise
            return ready()

        quiet.until(is_over, longest)

    def _listen(self) -> None:
        """Take all signs of life."""
        from mpi4py import MPI

        status = MPI.Status()
        while self._comm.iprobe(source=self._any, tag=Tag.ALIVE, status=status):
            rank = status.Get_source()
            self._watch.heard(rank, self._comm.recv(source=rank, tag=Tag.ALIVE))
        self._watch.check()

    def _meet(self, span: str = "") -> None:
        """Wait for all ranks; partner: `worker_loop.serve`."""
        with self._account.span(span) if span else contextlib.nullcontext():
            self._wait(self._comm.Ibarrier().Test)
        self._listen()

    def _send(self, rank: int, message: object) -> None:
        self._sends.append(self._comm.isend(message, dest=rank, tag=Tag.COMMAND))

    def _to_all(self, message: object) -> None:
        for rank in self._workers():
            self._send(rank, message)
        self._flush()

    def _flush(self) -> None:
        """Wait until every command has left; the partners are receiving in `serve`."""
        for request in self._sends:
            # Large messages progress only while being tested, hence the shorter sleep.
            self._wait(request.Test, longest=1e-4)
        self._sends = []


def _add(account: dict[str, float], name: str, n: float) -> None:
    account[name] = account.get(name, 0) + n


class _Waiting:
    """Tasks that nobody has yet."""

    def __init__(self, tasks: Sequence[Any], stop: Callable[[], bool] | None) -> None:
        self._tasks: Iterator[tuple[int, Any]] = iter(enumerate(tasks))
        self._stop = stop
        self._stopped = False

    def next(self) -> Task | None:
        """Return the next task, or None if there is none or the run is to stop."""
        if not self._stopped and self._stop is not None:
            self._stopped = self._stop()
        found = None if self._stopped else next(self._tasks, None)
        return None if found is None else Task(*found)
