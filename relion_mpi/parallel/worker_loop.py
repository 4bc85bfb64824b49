"""A worker's side of a crew over MPI. Its partner is `mpi_crew.MPICrew` on rank 0."""

from __future__ import annotations

import pickle
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from relion_mpi.core.timing import Stopwatch
from relion_mpi.parallel import abort, buffers, quiet
from relion_mpi.parallel.comm import World
from relion_mpi.parallel.inline import check_sizes
from relion_mpi.parallel.messages import Begin, Close, NoMore, Reduce, Result, Tag, Task

if TYPE_CHECKING:
    from mpi4py import MPI

    from relion_mpi.parallel.crew import Worker

# How long the answer to a result may take before the next task is started without it. Normally
# about a millisecond; a busy master must not stop the workers.
_ANSWER_SECONDS = 0.02


class _Held(NamedTuple):
    task: Task
    prepared: Future[Any]


def serve(comm: MPI.Intracomm, worker: Worker) -> None:
    """Do what the master says until it closes; collective with `MPICrew`.

    An exception leaves through the caller; one in the preparing thread ends the job at once.

    Parameters
    ----------
    comm
        Communicator of the job; duplicated and freed.
    worker
        Does the work.
    """
    quiet.barrier(comm)
    own = comm.Dup()
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prepare")
    try:
        _Loop(own, worker, thread).run()
    finally:
        # After a failure the job must end now, not when the thread has read its images.
        thread.shutdown(wait=False, cancel_futures=True)
    own.Free()


class _Loop:
    def __init__(self, comm: MPI.Intracomm, worker: Worker, thread: ThreadPoolExecutor) -> None:
        self._comm = comm
        self._worker = worker
        self._thread = thread
        self._held: deque[_Held] = deque()
        self._world = World(comm, comm.Get_rank(), comm.Get_size())

    def run(self) -> None:
        """Take commands; between two of them work on what is held."""
        while True:
            # With work in hand a command is only looked for, without it waited for.
            patience = _ANSWER_SECONDS if self._held else None
            command = quiet.receive(self._comm, 0, Tag.COMMAND, patience)
            match command:
                case Task():
                    self._held.append(_Held(command, self._thread.submit(self._prepare, command)))
                    if len(self._held) < 2:
                        continue
                case Begin():
                    self._begin(command)
                case Reduce():
                    self._reduce(command)
                case Close():
                    return
                case None | NoMore():
                    pass
            if self._held:
                self._work(self._held.popleft())

    def _prepare(self, command: Task) -> Any:
        try:
            return self._worker.prepare(command.task)
        except BaseException as error:
            # The main thread may be in the middle of a long task: do not wait for it to look.
            abort.fail(self._world, error)
            raise

    def _work(self, held: _Held) -> None:
        watch = Stopwatch()
        with watch.span("prepare_wait"):
            prepared = held.prepared.result()
        with watch.span("work"):
            value = self._worker.work(held.task.task, prepared)
        result = Result(held.task.number, value, watch.as_dict())
        quiet.wait(self._comm.isend(result, dest=0, tag=Tag.RESULT))

    def _begin(self, command: Begin) -> None:
        packed = np.empty(command.n_bytes, dtype=np.uint8)
        buffers.broadcast(self._comm, packed)
        arrays = {}
        for header in command.headers:
            arrays[header.name] = np.empty(header.shape, dtype=header.dtype)
            buffers.broadcast(self._comm, arrays[header.name])
        self._worker.begin(pickle.loads(packed.tobytes()), arrays)

    def _reduce(self, command: Reduce) -> None:
        sums = self._worker.sums()
        check_sizes([one.size for one in sums], command.shapes)
        for one in sums:
            buffers.add_to_sum(self._comm, one)
