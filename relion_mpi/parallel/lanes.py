"""The threads of one worker: one gets the next task's data ready, the others work.

A worker with a GPU works on several tasks at once, so that the GPU has another task's kernels to do
while the host looks at the results of one.
"""

from __future__ import annotations

import queue
import sys
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from relion_mpi.core.timing import Stopwatch
from relion_mpi.parallel.messages import Result
from relion_mpi.parallel.threads import adopt_threads

if TYPE_CHECKING:
    from relion_mpi.parallel.crew import Worker

SWITCH_SECONDS = 1e-4


class Lanes:
    """Do a worker's tasks in threads; results are taken by one thread.

    Parameters
    ----------
    worker
        Does the work.
    n
        Tasks worked on at once.
    """

    def __init__(self, worker: Worker, n: int) -> None:
        if n > 1:
            # A lane that comes back from the GPU must not wait 5 ms for the interpreter.
            sys.setswitchinterval(SWITCH_SECONDS)
        self.n = n
        self._worker = worker
        self._prepare = ThreadPoolExecutor(1, "prepare", initializer=adopt_threads)
        self._work = ThreadPoolExecutor(n, "lane", initializer=adopt_threads)
        self._done: queue.SimpleQueue[Result | BaseException] = queue.SimpleQueue()
        self.n_held = 0

    def submit(self, number: int, task: Any) -> None:
        """Begin a task: its data now, the work as soon as a lane is free.

        Parameters
        ----------
        number
            Comes back with the result.
        task
            For the worker.
        """
        self.n_held += 1
        prepared = self._prepare.submit(self._worker.prepare, task)
        prepared.add_done_callback(self._tell_failure)
        self._work.submit(self._do, number, task, prepared)

    def take(self, patience: float | None) -> Result | None:
        """Return a result, in the order in which tasks end.

        Parameters
        ----------
        patience
            Seconds to wait for one; None waits for ever.

        Returns
        -------
        Result or None
            None if there is none yet.

        Raises
        ------
        BaseException
            What ended a task.
        """
        try:
            found = self._done.get(patience is None or patience > 0, patience)
        except queue.Empty:
            return None
        self.n_held -= 1
        if isinstance(found, BaseException):
            raise found
        return found

    def close(self) -> None:
        """Let the threads go without waiting for them: after a failure the job must end now."""
        self._prepare.shutdown(wait=False, cancel_futures=True)
        self._work.shutdown(wait=False, cancel_futures=True)

    def _tell_failure(self, prepared: Future[Any]) -> None:
        """Say at once that data cannot be had: the lanes may be busy for long."""
        if not prepared.cancelled() and (error := prepared.exception()) is not None:
            self._done.put(error)

    def _do(self, number: int, task: Any, coming: Future[Any]) -> None:
        watch = Stopwatch()
        try:
            with watch.span("prepare_wait"):
                wait((coming,))
            if coming.cancelled() or coming.exception() is not None:
                return
            prepared = coming.result()
            with watch.span("work"):
                value = self._worker.work(task, prepared)
        except BaseException as error:  # noqa: BLE001 - raised again where results are taken
            self._done.put(error)
        else:
            self._done.put(Result(number, value, watch.as_dict()))
