"""The master's side of a crew over MPI. Its partner is `worker_loop.serve` on every other rank."""

from __future__ import annotations

import contextlib
import logging
import pickle
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from relion_mpi.core.timing import Account
from relion_mpi.parallel import lost_ranks, quiet
from relion_mpi.parallel.heartbeat import stall_seconds
from relion_mpi.parallel.inline import with_idle
from relion_mpi.parallel.ledger import Entry, Ledger
from relion_mpi.parallel.lost_ranks import RankLostError
from relion_mpi.parallel.messages import (
    COMMAND_BYTES,
    ArrayHeader,
    Begin,
    Close,
    Reduce,
    Result,
    Taken,
    Task,
    Tell,
)
from relion_mpi.parallel.relay import sum_bytes
from relion_mpi.parallel.wires import Wires, told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt
    from mpi4py import MPI

    from relion_mpi.parallel.crew import Arrays, OnResult, Stop

    Accept = Callable[[int, Result], None]

T = TypeVar("T")

log = logging.getLogger(__name__)


class MPICrew:
    """Hand tasks to all other ranks of `comm`; made on rank 0, collective with `serve`.

    Where MPI can (`lost_ranks.can_go_on`), workers that die are left out: what they had in hand,
    and what only their sums knew of, is done again by the others.

    Parameters
    ----------
    comm
        Communicator of the job with at least two ranks; duplicated, and freed by `close`.
    n_lanes
        Tasks that a worker works on at once, as given to `serve`.
    """

    def __init__(self, comm: MPI.Intracomm, n_lanes: int = 1) -> None:
        if comm.Get_rank() != 0 or comm.Get_size() < 2:
            raise ValueError("an MPICrew is made on rank 0 of at least two ranks")
        limit = stall_seconds()
        quiet.barrier(comm)
        own = comm.Dup()
        own.bcast(limit, root=0)
        self._wires = Wires(own, limit)
        self.n_workers = len(self._wires.workers)
        self._can_lose = lost_ranks.can_go_on()
        self._ledger = Ledger(self._wires.workers, keeps_done=self._can_lose)
        self._begins: list[_Begun] = []  # what workers would have to be told again
        self._n_begun = self._n_reduced = self._n_tasks = 0
        self._timings: dict[int, dict[str, float]] = {}
        self._account = Account()
        self._result_bytes = dict.fromkeys(self._wires.workers, 0)
        self._closed = False
        self._n_lanes = n_lanes

    def begin(self, message: Any, arrays: Arrays, *, keeps_sums: bool = False) -> None:
        """See `Crew.begin`; partner: `serve`, which takes the same buffers in the same order."""
        if not keeps_sums:
            self._ledger.forget()
        packed = np.frombuffer(pickle.dumps(message, pickle.HIGHEST_PROTOCOL), dtype=np.uint8)
        begun = _Begun(packed, arrays, keeps_sums)
        if self._can_lose:
            self._begins.append(begun)
        self._begin(begun)

    def run(
        self,
        tasks: Sequence[Any],
        on_result: OnResult,
        stop: Stop | None = None,
        *,
        summed: bool = True,
    ) -> None:
        """See `Crew.run`; partner: `serve`."""
        start = time.perf_counter()
        spans = {rank: {"prepare_wait": 0.0, "work": 0.0} for rank in self._wires.workers}
        first, self._n_tasks = self._n_tasks, self._n_tasks + len(tasks)

        def deliver(worker: int, result: Result) -> None:
            entry = self._ledger.returned(worker, result.number)
            if entry is None:
                return
            for name, seconds in result.seconds.items():
                spans[worker][name] += seconds / self._n_lanes
            if not entry.is_known:
                entry.is_known = True
                on_result(result.number - first, result.value)

        self._work(_Waiting(tasks, stop, first, summed=summed), deliver)
        wall = time.perf_counter() - start
        self._timings = {rank: with_idle(one, wall) for rank, one in spans.items()}

    def reduce(self, shapes: Sequence[tuple[int, ...]]) -> list[npt.NDArray[np.float64]]:
        """See `Crew.reduce`; partner: `serve`."""
        sizes = tuple(tuple(shape) for shape in shapes)
        totals = self._collected(sizes)
        while self._ledger.again:
            # The others' sums are here and are zero there: they begin again as they did before.
            for begun in self._begins:
                self._begin(begun)
            for total, rest in zip(totals, self._collected(sizes), strict=True):
                total += rest
        self._ledger.forget()
        more_follow = any(one.keeps_sums for one in self._begins)
        self._begins = [one for one in self._begins if more_follow and not one.keeps_sums]
        return totals

    def timings(self) -> dict[int, dict[str, float]]:
        """See `Crew.timings`."""
        return {rank: dict(seconds) for rank, seconds in self._timings.items()}

    def accounts(self) -> dict[int, dict[str, float]]:
        """See `Crew.accounts`; partner: `serve`. Of a lost rank nothing is told."""
        mine = self._account.take()

        def ask() -> dict[int, dict[str, float]]:
            self._wires.to_all(Tell())
            self._meet()
            return self._wires.gather(mine)

        found = self._surely(ask)
        for rank in self._wires.workers:
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

        def leave() -> None:
            self._wires.to_all(Close())
            self._meet()

        self._surely(leave)
        self._wires.close()

    # What the workers are told

    def _begin(self, begun: _Begun) -> None:
        """Broadcast; a worker that is lost meanwhile is left out, and the others are told again."""
        self._n_begun += 1
        try:
            with lost_ranks.noticed():
                self._broadcast(begun)
        except RankLostError:
            self._go_on_without(begun)

    def _broadcast(self, begun: _Begun) -> None:
        arrays = begun.arrays
        headers = tuple(ArrayHeader(name, one.shape, one.dtype) for name, one in arrays.items())
        self._wires.to_all(Begin(self._n_begun, begun.packed.size, headers))
        self._meet("broadcast_wait_seconds")
        with self._account.span("broadcast_transfer_seconds"):
            self._wires.relay.broadcast(begun.packed)
            for one in arrays.values():
                self._wires.relay.broadcast(np.ascontiguousarray(one))
        self._account.count("bytes_sent", begun.n_bytes)

    def _collected(self, shapes: tuple[tuple[int, ...], ...]) -> list[npt.NDArray[np.float64]]:
        """Bring the sums of all that live together, once nothing is left to be done again."""
        if self._ledger.again:
            self._work(_Waiting((), None, 0, summed=True), self._note)
        self._n_reduced += 1

        def collect() -> list[npt.NDArray[np.float64]]:
            self._wires.to_all(Reduce(self._n_reduced, shapes))
            self._meet("reduce_wait_seconds")
            with self._account.span("reduce_transfer_seconds"):
                sums = [self._wires.relay.sum_at_master(shape) for shape in shapes]
            self._account.count("bytes_received", sum(sum_bytes(one.size) for one in sums))
            return sums

        sums = self._surely(collect)
        # From here on they are safe: whoever dies now has nothing that is not here.
        self._ledger.collected()
        if self._can_lose:
            self._surely(lambda: self._wires.to_all(Taken()))
        return sums

    def _meet(self, span: str = "") -> None:
        """Wait for all ranks; partner: `worker_loop.serve`."""
        with self._account.span(span) if span else contextlib.nullcontext():
            self._wires.meet()
        self._wires.hear_all()

    # Tasks

    def _work(self, waiting: _Waiting, deliver: Accept) -> None:
        """Have all tasks done, those of lost workers too."""
        while True:
            try:
                with lost_ranks.noticed():
                    self._keep_busy(waiting, deliver)
                    return
            except RankLostError:
                self._go_on_without(deliver=deliver)

    def _keep_busy(self, waiting: _Waiting, deliver: Accept) -> None:
        # Everybody gets a first task before anybody gets a second one. The last one is that whose
        # data are read while the others are worked on.
        for n in range(self._n_lanes + 1):
            for worker in self._wires.workers:
                if self._ledger.n_held(worker) <= n:
                    self._hand_out(worker, waiting)
        while self._ledger.any_held():
            worker, result, n_bytes = self._wires.next_result()
            self._result_bytes[worker] += n_bytes
            try:
                # First, so that nobody waits for what is done with the result.
                self._hand_out(worker, waiting)
            finally:
                deliver(worker, result)
        self._wires.flush()

    def _hand_out(self, worker: int, waiting: _Waiting) -> None:
        """Send the next task to a worker if there is one."""
        again = self._ledger.again
        entry = again.popleft() if again else waiting.next()
        if entry is not None:
            self._ledger.give(worker, entry)
            self._wires.send(worker, entry.task)

    def _note(self, worker: int, result: Result) -> None:
        """Note a result that is known already."""
        self._ledger.returned(worker, result.number)

    # Lost ranks

    def _surely(self, action: Callable[[], T]) -> T:
        """Do something that all ranks take part in, again if one is lost meanwhile."""
        while True:
            try:
                with lost_ranks.noticed():
                    return action()
            except RankLostError:
                self._go_on_without()

    def _go_on_without(self, begun: _Begun | None = None, deliver: Accept | None = None) -> None:
        """Leave out who has died, and bring the others to where the crew is.

        Parameters
        ----------
        begun
            What all are being told; the last of `begins` if left out.
        deliver
            Takes results; `_note` if left out.
        """
        while True:
            lost, states = self._wires.recover()
            self.n_workers = len(states)
            for worker, state in states.items():
                for result in state.results:
                    (deliver or self._note)(worker, result)
                self._ledger.settle(worker, state.held)
            for worker, host in lost.items():
                n_again = self._ledger.lose(worker)
                log.warning(
                    "%s has died (killed? memory?); %s; the run goes on with %d worker(s)",
                    told({worker: host}),
                    f"{n_again} batch(es) of its work are done again" if n_again else
                    "none of its work is lost",
                    self.n_workers,
                )  # fmt: skip
            if all(state.begun == self._n_begun for state in states.values()):
                return
            try:
                with lost_ranks.noticed():
                    self._broadcast(begun or self._begins[-1])
                    return
            except RankLostError:
                continue


@dataclass(frozen=True, slots=True)
class _Begun:
    """What workers were told."""

    packed: npt.NDArray[np.uint8]
    arrays: Arrays
    keeps_sums: bool

    @property
    def n_bytes(self) -> int:
        return self.packed.nbytes + sum(one.nbytes for one in self.arrays.values())


class _Waiting:
    """Tasks that nobody has had yet."""

    def __init__(
        self, tasks: Sequence[Any], stop: Callable[[], bool] | None, first: int, *, summed: bool
    ) -> None:
        self._tasks: Iterator[tuple[int, Any]] = iter(enumerate(tasks, first))
        self._stop = stop
        self._stopped = False
        self._summed = summed

    def next(self) -> Entry | None:
        """Return the next task, or None if there is none or the run is to stop."""
        if not self._stopped and self._stop is not None:
            self._stopped = self._stop()
        found = None if self._stopped else next(self._tasks, None)
        return None if found is None else Entry(Task(*found), self._summed)


def _add(account: dict[str, float], name: str, n: float) -> None:
    account[name] = account.get(name, 0) + n
