"""A rank's part of the pieces that its node copies, done in threads a few seconds at a time."""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

N_THREADS = 4
"""That copy: a network file system serves several requests sooner than one after the other."""


class Share:
    """Pieces of one rank, and what became of them.

    Parameters
    ----------
    pieces
        Index of each.
    action
        Done with each, in a thread; what it raises but OSError goes to the caller.
    goes_on
        Whether one that failed leaves the others to be tried.

    Attributes
    ----------
    good : index of each that was done
    failed : index of each that was tried without success
    trouble : why the last one failed; empty where none did
    """

    def __init__(
        self, pieces: Sequence[int], action: Callable[[int], None], *, goes_on: bool
    ) -> None:
        self._left = list(reversed(pieces))
        self._action, self._goes_on = action, goes_on
        self._running: dict[Future[None], int] = {}
        self._pool = ThreadPoolExecutor(N_THREADS, "scratch")
        self.good: list[int] = []
        self.failed: list[int] = []
        self.trouble = ""

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return not self._left

    def go_on(self, seconds: float) -> None:
        """Do pieces for some seconds; those begun are finished.

        Parameters
        ----------
        seconds
            After which none is begun.
        """
        deadline = time.monotonic() + seconds
        while self._running or (self._left and time.monotonic() < deadline):
            while (
                self._left and len(self._running) < N_THREADS and time.monotonic() < deadline
            ):
                index = self._left.pop()
                self._running[self._pool.submit(self._action, index)] = index
            done, _ = wait(self._running, return_when=FIRST_COMPLETED)
            try:
                for one in done:
                    self._take(self._running.pop(one), one)
            except BaseException:
                self.stop()  # nothing may be written any more when the folder is removed
                raise

    def stop(self) -> None:
        """Begin no more."""
        self._left.clear()
        self._pool.shutdown()

    def _take(self, index: int, done: Future[None]) -> None:
        try:
            done.result()
        except OSError as error:
            self.failed.append(index)
            self.trouble = str(error)
            if not self._goes_on:
                self._left.clear()
        else:
            self.good.append(index)
