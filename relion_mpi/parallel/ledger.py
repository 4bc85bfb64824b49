"""Who has which task in hand, and who has added what to its sums since they were zero."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from relion_mpi.parallel.messages import Task


@dataclass(slots=True)
class Entry:
    """A task that was handed out.

    Attributes
    ----------
    task : as it was sent; done again, it must be the same
    is_summed : it adds to the worker's sums
    is_known : its result has been delivered, and must not be again
    """

    task: Task
    is_summed: bool
    is_known: bool = False


class Ledger:
    """The master's book of tasks.

    Parameters
    ----------
    workers
        Their names.
    keeps_done
        Note what has been done, for the case that its worker is lost.

    Attributes
    ----------
    again : tasks of workers that were lost
    """

    def __init__(self, workers: Iterable[int], *, keeps_done: bool) -> None:
        self._held: dict[int, dict[int, Entry]] = {worker: {} for worker in workers}
        self._done: dict[int, list[Entry]] = {worker: [] for worker in self._held}
        self._keeps_done = keeps_done
        self.again: deque[Entry] = deque()

    def n_held(self, worker: int) -> int:
        """Count the tasks that a worker has in hand."""
        return len(self._held[worker])

    def any_held(self) -> bool:
        """Tell whether any worker has a task in hand."""
        return any(self._held.values())

    def give(self, worker: int, entry: Entry) -> None:
        """Note that a worker gets a task; before it is sent, which may fail."""
        self._held[worker][entry.task.number] = entry

    def returned(self, worker: int, number: int) -> Entry | None:
        """Note a result.

        Parameters
        ----------
        worker
            Who sent it.
        number
            Of the task.

        Returns
        -------
        Entry or None
            None if it has been noted before: after a loss workers send their last results again.
        """
        entry = self._held[worker].pop(number, None)
        if entry is not None and entry.is_summed and self._keeps_done:
            self._done[worker].append(entry)
        return entry

    def settle(self, worker: int, held: Collection[int]) -> None:
        """Take back what never reached a worker, or its result would be waited for.

        Parameters
        ----------
        worker
            Lives on, and its results have been noted.
        held
            Numbers of the tasks that it has in hand.
        """
        mine = self._held[worker]
        self.again.extend(mine.pop(number) for number in sorted(set(mine) - set(held)))

    def lose(self, worker: int) -> int:
        """Have everything done again that is lost with a worker.

        Parameters
        ----------
        worker
            Has died.

        Returns
        -------
        int
            Tasks: in hand, and done but with its sums only.
        """
        lost = self._done.pop(worker) + list(self._held.pop(worker).values())
        self.again.extend(lost)
        return len(lost)

    def collected(self) -> None:
        """Note that the sums of all living workers are with the master."""
        for done in self._done.values():
            done.clear()

    def forget(self) -> None:
        """Note that sums are zero and nothing that was done before is wanted."""
        self.collected()
        self.again.clear()
