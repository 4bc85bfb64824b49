"""The contract between one master and its workers; no cryo-EM and no MPI here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    Arrays = Mapping[str, npt.NDArray[Any]]
    OnResult = Callable[[int, Any], None]
    Stop = Callable[[], bool]


class Worker(Protocol):
    """What every worker can do; one instance lives on each working rank."""

    def begin(self, message: Any, arrays: dict[str, npt.NDArray[Any]]) -> None:
        """Take what the master broadcast and set the sums to zero.

        After a rank was lost the same may come again, with all that came since the last
        reduction: it must then be as if it had come for the first time.

        Parameters
        ----------
        message
            Any picklable object.
        arrays
            Arrays by name; shared with the caller when there is only one process, so read-only
            by agreement.
        """

    def prepare(self, task: Any) -> Any:
        """Get ready for a task (read its images); called in a background thread.

        Parameters
        ----------
        task
            The task after the one being worked on.

        Returns
        -------
        Any
            Handed to `work` with the task.
        """

    def work(self, task: Any, prepared: Any) -> Any:
        """Do a task.

        Parameters
        ----------
        task
            As given to `Crew.run`.
        prepared
            What `prepare` returned for it.

        Returns
        -------
        Any
            Picklable; goes to the master.
        """

    def sums(self) -> Sequence[npt.NDArray[Any]]:
        """Return what has been summed since `begin`, for `Crew.reduce`.

        Returns
        -------
        Sequence
            Real arrays of any dtype; the same sizes on every worker.
        """

    def counts(self) -> Mapping[str, float]:
        """Return what it has counted by itself since it was asked last, for `Crew.accounts`.

        Returns
        -------
        Mapping
            Numbers by name, such as bytes that were read.
        """


class Crew(Protocol):
    """The master's view of its workers."""

    n_workers: int

    def begin(self, message: Any, arrays: Arrays, *, keeps_sums: bool = False) -> None:
        """Call `Worker.begin` on every worker.

        Parameters
        ----------
        message
            Any picklable object.
        arrays
            Arrays by name, broadcast by buffer. They must not change before the next reduction.
        keeps_sums
            Workers do not set their sums to zero for this message: it is about the next reduction,
            after which more is added to the sums.
        """

    def run(
        self,
        tasks: Sequence[Any],
        on_result: OnResult,
        stop: Stop | None = None,
        *,
        summed: bool = True,
    ) -> None:
        """Have every task done once; whoever is free gets the next one.

        Parameters
        ----------
        tasks
            Picklable tasks, handed out in order.
        on_result
            Called on the master with the task's index and result, in any order.
        stop
            Asked before a task is handed out; once it says True the tasks in hand are finished,
            their results delivered, and the rest left undone.
        summed
            What tasks add to the sums will be reduced: if a worker is lost, others do again what it
            has done. Otherwise only what it had in hand.
        """

    def reduce(self, shapes: Sequence[tuple[int, ...]]) -> list[npt.NDArray[np.float64]]:
        """Add up `Worker.sums` over the workers.

        Parameters
        ----------
        shapes
            Shape of each array at the master; its size must be that of the workers' array.

        Returns
        -------
        list
            float64 arrays of the given shapes.
        """

    def timings(self) -> dict[int, dict[str, float]]:
        """Return where the time of the last run went.

        Returns
        -------
        dict
            By rank: seconds under "prepare_wait" (data not ready), "work" and "idle" (no task).
        """

    def accounts(self) -> dict[int, dict[str, float]]:
        """Return what every rank did since this was called last.

        Returns
        -------
        dict
            By rank, rank 0 included: what `Worker.counts` says; seconds under "begin_seconds" (the
            worker takes what was broadcast) and "reduce_pack_seconds" (it gets its sums ready).
            Of several ranks also seconds under "broadcast_wait_seconds" and "reduce_wait_seconds"
            (for the last rank to be there), "broadcast_transfer_seconds" and
            "reduce_transfer_seconds" (bytes move), and bytes under "bytes_sent" and
            "bytes_received": what the rank gives to MPI and gets from it. By which ways MPI
            spreads and adds up arrays is not seen here: an array counts once for each rank.
        """

    def close(self) -> None:
        """Let the workers go; further calls do nothing."""
