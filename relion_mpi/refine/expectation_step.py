"""The E-step of one iteration on rank 0: batches out, results in, sums brought together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.refine.hidden import ExpectationTasks, HiddenVariables
from relion_mpi.refine.messages import MoreBatchesFollow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from relion_mpi.dataset.batches import Batch
    from relion_mpi.dataset.particles import Particles
    from relion_mpi.dataset.quarantine import Quarantine
    from relion_mpi.estep.plan import BatchResult
    from relion_mpi.parallel.crew import Crew, Stop
    from relion_mpi.refine.messages import BatchAnswer
    from relion_mpi.refine.partial import Partial


class ExpectationStep:
    """Has every batch done once; may pause between batches, and go on in another job.

    Parameters
    ----------
    crew
        Has begun the E-step.
    particles
        Changed in place.
    batches
        Of the run.
    quarantine
        Takes what is found to be unusable.
    operators : float64 (n, 3, 3)
        Point group.

    Attributes
    ----------
    done : bool (n_batch,)
    hidden : what changed
    sums : brought together in pauses, here alone; None before the first
    timings : seconds by rank and span, over all parts
    """

    def __init__(
        self,
        crew: Crew,
        particles: Particles,
        batches: Sequence[Batch],
        quarantine: Quarantine,
        operators: NDArray[np.float64],
    ) -> None:
        self._crew, self._particles = crew, particles
        self._batches, self._quarantine = batches, quarantine
        self.done = np.zeros(len(batches), np.bool_)
        self.hidden = HiddenVariables(particles, operators)
        self.sums: list[NDArray[np.float64]] | None = None
        self.timings: dict[int, dict[str, float]] = {}

    def resume(self, partial: Partial) -> None:
        """Take over what another job did; the particles have its results already.

        Parameters
        ----------
        partial
            Of the same iteration and batches.
        """
        self.done[:] = partial.done
        self.hidden.moved[:], self.hidden.taken[:] = partial.moved, partial.taken
        self.sums = list(partial.sums)

    def n_done(self) -> int:
        """Count the particles of the batches that are done."""
        done = zip(self._batches, self.done, strict=True)
        return sum(batch.particles.size for batch, is_done in done if is_done)

    def run(self, stop: Stop, on_batch: Callable[[int], None]) -> bool:
        """Have the batches done that are not yet.

        Parameters
        ----------
        stop
            Asked before a batch is handed out; those in hand are finished after it said True.
        on_batch
            Told the number of particles of each batch that was done.

        Returns
        -------
        bool
            Whether all batches are done.
        """
        left = np.flatnonzero(~self.done).tolist()
        batches = [self._batches[i] for i in left]

        def take(place: int, answer: BatchAnswer[BatchResult]) -> None:
            rows = batches[place].particles
            kept = self._quarantine.take(rows, answer.flags)
            if answer.value is not None:
                self.hidden.take(kept, answer.value)
            self.done[left[place]] = True
            on_batch(rows.size)

        tasks = ExpectationTasks(self._particles, batches, self._quarantine.flags)
        self._crew.run(tasks, take, stop)
        for rank, spans in self._crew.timings().items():
            mine = self.timings.setdefault(rank, {})
            for name, seconds in spans.items():
                mine[name] = mine.get(name, 0.0) + seconds
        return bool(self.done.all())

    def collect(
        self, shapes: Sequence[tuple[int, ...]], *, more_follow: bool
    ) -> list[NDArray[np.float64]]:
        """Bring the sums of all batches done so far together; workers begin again from zero.

        Parameters
        ----------
        shapes
            Of the sums.
        more_follow
            Whether batches are still to be done.

        Returns
        -------
        list
            float64 arrays of these shapes; not changed later while more batches follow.
        """
        if more_follow:
            self._crew.begin(MoreBatchesFollow(), {}, keeps_sums=True)
        found = self._crew.reduce(shapes)
        if self.sums is not None:
            for total, earlier in zip(found, self.sums, strict=True):
                total += earlier
        self.sums = found if more_follow else None  # at the end the caller frees them
        return found
