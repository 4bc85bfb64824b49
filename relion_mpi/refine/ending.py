"""An end that was asked for: after the batch in hand, with everything saved."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from typing import TYPE_CHECKING

from relion_mpi.refine.pipeline_control import ABORT_NOW, ABORTED_STATUS, abort_asked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import FrameType

log = logging.getLogger(__name__)

INTERRUPTED_STATUS = 75
"""EX_TEMPFAIL of sysexits.h, "try again later": neither done nor wrong."""

_SIGNALS = (signal.SIGUSR1, signal.SIGTERM)


class EndAsked(Exception):  # noqa: N818 - it is no error
    """The iteration under way is dropped, because an end was asked for."""


class Ending:
    """Listens for a request to end: SIGUSR1, SIGTERM, or RELION's interface.

    Parameters
    ----------
    folder
        Where RELION's interface asks, or None.
    """

    def __init__(self, folder: Path | None) -> None:
        self.status = 0
        self._folder = folder
        self._signal: int | None = None

    def asked(self) -> bool:
        """Look whether the run is to end; cheap enough for every batch of particles.

        Returns
        -------
        bool
            True from the first request on; `status` is then the exit status to leave with.
        """
        if not self.status and self._signal is not None:
            self.status = INTERRUPTED_STATUS
            log.warning("%s came: the run ends here", signal.Signals(self._signal).name)
        if not self.status and abort_asked(self._folder):
            self.status = ABORTED_STATUS
            log.warning("%s was found in %s: the run ends here", ABORT_NOW, self._folder)
        return self.status != 0

    @contextlib.contextmanager
    def listening(self, rank: int) -> Iterator[None]:
        """Take signals within a block: rank 0 decides, the others leave them to it.

        Launchers send a signal to every rank.

        Parameters
        ----------
        rank
            This rank.
        """
        if threading.current_thread() is not threading.main_thread():
            yield  # Python allows handlers in the main thread only
            return
        before = {
            one: signal.signal(one, self._note if rank == 0 else signal.SIG_IGN)
            for one in _SIGNALS
        }
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self._signal = number
