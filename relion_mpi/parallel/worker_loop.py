"""A worker's side of a crew over MPI. Its partner is `mpi_crew.MPICrew` on rank 0."""

from __future__ import annotations

import contextlib
import pickle
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.core.timing import Account
from relion_mpi.parallel import lost_ranks, quiet
from relion_mpi.parallel.comm import world
from relion_mpi.parallel.heartbeat import PATIENCE, Pulse
from relion_mpi.parallel.inline import check_sizes
from relion_mpi.parallel.lanes import Lanes
from relion_mpi.parallel.lost_ranks import RankLostError
from relion_mpi.parallel.messages import (
    COMMAND_BYTES,
    Begin,
    Close,
    Here,
    Reduce,
    Result,
    Tag,
    Taken,
    Task,
    Tell,
)
from relion_mpi.parallel.relay import relay_of, sum_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt
    from mpi4py import MPI

    from relion_mpi.parallel.crew import Worker
    from relion_mpi.parallel.heartbeat import Alive


def serve(comm: MPI.Intracomm, worker: Worker, n_lanes: int = 1) -> None:
    """Do what the master says until it closes; collective with `MPICrew`.

    An exception, of a thread too, leaves through the caller. If ranks were lost on the way,
    `comm.world()` is what is left of the job.

    Parameters
    ----------
    comm
        Communicator of the job; duplicated and freed.
    worker
        Does the work.
    n_lanes
        Tasks worked on at once, each in a thread.
    """
    quiet.barrier(comm)
    own = comm.Dup()
    stall_seconds = own.bcast(None, root=0)
    with contextlib.closing(Lanes(worker, n_lanes)) as lanes:
        loop = _Loop(own, worker, lanes, stall_seconds)
        loop.run()
    loop.close()


class _Loop:
    """Only this thread talks to MPI."""

    def __init__(
        self, comm: MPI.Intracomm, worker: Worker, lanes: Lanes, stall_seconds: float
    ) -> None:
        self._comm = comm
        self._relay = relay_of(comm, share=not lost_ranks.can_go_on())
        self._worker = worker
        self._lanes = lanes
        self._sends: list[MPI.Request] = []
        self._account = Account()
        self._limit = stall_seconds
        self._pulse = Pulse(self._tell, comm.Get_rank(), stall_seconds)
        # What the master wants to know after a rank was lost.
        self._begun = 0
        self._held: set[int] = set()
        # As many as it may not have heard of: it sends a task for each that it has.
        self._recent: deque[Result] = deque(maxlen=lanes.n + 1)
        self._kept: tuple[int, Sequence[npt.NDArray[Any]]] | None = None
        self._buried: list[MPI.Request] = []
        self._has_lost = False

    def run(self) -> None:
        """Do what the master says until it closes, without the ranks that die meanwhile."""
        goes_on = True
        while goes_on:
            try:
                with lost_ranks.noticed():
                    goes_on = self._obey(self._next_command())
            except RankLostError:
                self._recover()

    def close(self) -> None:
        """Give the communicator back, or to the rest of the job if ranks were lost."""
        if self._has_lost:
            world().go_on_with(self._comm)
        else:
            self._relay.close()
            self._comm.Free()

    def _obey(self, command: object) -> bool:
        """Do what a command says; return whether more follow."""
        match command:
            case Task(number, task):
                self._held.add(number)
                self._lanes.submit(number, task)
                self._pulse.moved()
            case Begin() as begin:
                self._begin(begin)
            case Reduce() as reduce:
                self._reduce(reduce)
            case Taken():
                self._kept = None
            case Tell():
                self._meet()
                self._comm.gather({**self._worker.counts(), **self._account.take()}, root=0)
            case Close():
                self._meet()
                return False
        return True

    def _recover(self) -> None:
        """Leave out who has died and tell the master what is here; partner: `Wires.recover`."""
        self._has_lost = True
        while True:
            # MPI may still look at their buffers.
            self._buried, self._sends = self._buried + self._sends, []
            self._comm, _ = lost_ranks.without_lost(self._comm, PATIENCE * self._limit)
            self._relay = relay_of(self._comm, share=False)
            here = Here(self._begun, tuple(self._held), tuple(self._recent))
            with contextlib.suppress(RankLostError), lost_ranks.noticed():
                self._comm.gather(here, root=0)
                return

    def _next_command(self) -> object:
        from mpi4py import MPI

        message: MPI.Message | None = None
        status = MPI.Status()

        def arrived() -> bool:
            nonlocal message
            self._hand_back()
            message = self._comm.improbe(source=0, tag=Tag.COMMAND, status=status)
            return message is not None

        self._wait(arrived)
        assert message is not None
        self._account.count(COMMAND_BYTES, status.Get_count(MPI.BYTE))
        return message.recv()

    def _wait(self, ready: Callable[[], bool]) -> None:
        """Wait, sending signs of life."""

        def is_over() -> bool:
            self._pulse.poll(is_working=self._lanes.n_held > 0)
            return ready()

        quiet.until(is_over)

    def _meet(self, span: str = "") -> None:
        """Wait for all ranks, sending signs of life; partner: `MPICrew._meet`."""
        with self._account.span(span) if span else contextlib.nullcontext():
            self._wait(self._comm.Ibarrier().Test)

    def _tell(self, sign: Alive) -> None:
        self._sends.append(self._comm.isend(sign, dest=0, tag=Tag.ALIVE))

    def _hand_back(self) -> None:
        """Send the results that are there."""
        self._sends = [one for one in self._sends if not one.Test()]
        while self._lanes.n_held and (result := self._lanes.take(0)) is not None:
            self._held.discard(result.number)
            self._recent.append(result)
            self._sends.append(self._comm.isend(result, dest=0, tag=Tag.RESULT))
            self._pulse.moved()

    def _begin(self, command: Begin) -> None:
        self._meet("broadcast_wait_seconds")
        arrays = {}
        with self._account.span("broadcast_transfer_seconds"):
            packed = np.empty(command.n_bytes, dtype=np.uint8)
            self._relay.broadcast(packed)
            for header in command.headers:
                arrays[header.name] = np.empty(header.shape, dtype=header.dtype)
                self._relay.broadcast(arrays[header.name])
        self._account.count(
            "bytes_received", packed.nbytes + sum(one.nbytes for one in arrays.values())
        )
        if command.number == self._begun:
            return  # another rank had not heard it
        self._pulse.announce("getting ready")
        with self._account.span("begin_seconds"):
            self._worker.begin(pickle.loads(packed.tobytes()), arrays)
        self._begun = command.number
        self._pulse.announce("")

    def _reduce(self, command: Reduce) -> None:
        if self._kept is None or self._kept[0] != command.number:
            self._pulse.announce("collecting its sums")
            with self._account.span("reduce_pack_seconds"):
                self._kept = command.number, self._worker.sums()
            self._pulse.announce("")
        sums = self._kept[1]
        self._meet("reduce_wait_seconds")
        check_sizes([one.size for one in sums], command.shapes)
        with self._account.span("reduce_transfer_seconds"):
            for one in sums:
                self._relay.add_to_sum(one)
        self._account.count("bytes_sent", sum(sum_bytes(one.size) for one in sums))
        if not lost_ranks.can_go_on():
            self._kept = None  # otherwise they wait for `Taken`
