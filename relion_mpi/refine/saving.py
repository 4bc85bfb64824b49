"""When the middle of an iteration is saved, and by whom."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from relion_mpi.core.errors import InputError
from relion_mpi.refine.checkpoint import read_sha256
from relion_mpi.refine.outputs.names import OutputNames, partials_of, state_beside
from relion_mpi.refine.partial import read_partial, write_partial
from relion_mpi.refine.state_file import BrokenFileError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from relion_mpi.refine.checkpoint import Saved
    from relion_mpi.refine.outputs.writer import OutputWriter
    from relion_mpi.refine.partial import Partial

log = logging.getLogger(__name__)

WORTH_SECONDS = 20.0
"""Work of less than this is done again sooner than it is saved."""


class Saving:
    """Watches one E-step.

    Parameters
    ----------
    writer
        Writes in its thread, after the state that the iteration began from.
    minutes
        Between two times; 0 for never, unless an end is asked for.
    clock
        For tests.
    """

    def __init__(
        self, writer: OutputWriter, minutes: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._writer, self._clock = writer, clock
        self._period = 60.0 * minutes or float("inf")
        self._last = clock()
        self._n_batch = 0
        self._is_writing = False

    def note_batch(self) -> None:
        """Count a batch that was done."""
        self._n_batch += 1

    def is_due(self) -> bool:
        """Tell whether it is time, and there is something new; cheap enough for every batch."""
        if self._n_batch == 0 or self._is_writing:
            return False
        return self._clock() - self._last >= self._period

    def is_worth_it(self) -> bool:
        """Tell whether enough was done since the last time, if the run ends now."""
        return self._n_batch > 0 and self._clock() - self._last >= min(WORTH_SECONDS, self._period)

    def save(self, root: Path, partial: Partial, last_optimiser: Path | None) -> None:
        """Hand over what is to be written; a failure is told, and the run goes on.

        Parameters
        ----------
        root
            RELION's --o root name.
        partial
            Nothing in it may change any more.
        last_optimiser
            Of the iteration before.
        """
        path = OutputNames(root, partial.iteration).partial()
        assert last_optimiser is not None
        state = state_beside(last_optimiser)
        assert state is not None

        def write() -> None:
            try:
                write_partial(path, partial, read_sha256(state))
            except (OSError, InputError) as error:
                log.warning("%s: could not be written (%s); the run goes on", path, error)
            else:
                log.info(
                    "Iteration %d: %d of %d batches are done and saved: %s", partial.iteration,
                    partial.done.sum(), partial.done.size, path,
                )  # fmt: skip
            finally:
                self._is_writing = False

        self._is_writing = True
        self._writer.hand_over(write)
        self._last, self._n_batch = self._clock(), 0


def saved_within(root: Path, saved: Saved, work: str) -> Partial | None:
    """Look for what was done of the iteration after a state.

    Parameters
    ----------
    root
        RELION's --o root name of the job that goes on.
    saved
        The state.
    work
        What `relion_mpi.refine.partial.describe_work` says of the job.

    Returns
    -------
    Partial or None
        None if there is nothing that can be used.
    """
    number = saved.iteration + 1
    name = saved.path.name.removesuffix("_state.h5").rpartition("_it")[0]
    roots = dict.fromkeys((root, saved.path.with_name(name)))
    for path in (found for one in roots for n, found in partials_of(one) if n == number):
        try:
            partial = read_partial(path, saved, work)
        except BrokenFileError as error:
            log.warning("%s is not used: %s", path, error)
            continue
        log.info(
            "Going on within iteration %d, of which %d of %d batches are done: %s", number,
            partial.done.sum(), partial.done.size, path,
        )  # fmt: skip
        return partial
    return None
