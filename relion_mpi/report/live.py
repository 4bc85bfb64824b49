"""The page of a run that is under way, drawn by a process of its own beside rank 0."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import relion_mpi
from relion_mpi.report.gather.state import State

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

SHARE = 0.1
"""Of the time that drawing may take: after a page, nine times as long passes before the next."""
PATIENCE_SECONDS = 60.0
"""How long a page is waited for at the end of a run."""
_NICENESS = 10
_OF_LAUNCHERS = ("PMI", "OMPI_", "MPI_", "HYDRA_")
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")


class LiveReport:
    """Has pages drawn now and then; whatever goes wrong, the run goes on.

    A process of its own takes neither the interpreter nor memory from the run, which says
    beforehand how much it will need.

    Parameters
    ----------
    root
        --o of the run.
    command
        What draws a page, before root and state; for tests.
    clock
        For tests.
    """

    def __init__(
        self,
        root: Path,
        command: tuple[str, ...] = (sys.executable, "-m", "relion_mpi.report.drawing"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root, self._command, self._clock = root, command, clock
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        self._began = self._not_before = float("-inf")
        self._seconds: list[float] = []
        self._has_failed = False

    def refresh(self) -> None:
        """Begin a page, unless one is being drawn or was drawn just now."""
        if self._is_drawing() or self._clock() < self._not_before:
            return
        self._start(State.RUNNING)

    def end(self, *, early: bool = False) -> None:
        """Draw the page of the run's end, and say where it is and what pages took.

        Parameters
        ----------
        early
            An end was asked for.
        """
        self._wait()
        self._start(State.STOPPED if early else State.FINISHED)
        self._wait()
        if self._seconds and not self._has_failed:
            log.info(
                "Report: %s_report.html, drawn %d times beside the run in %.1f s in all, the last "
                "in %.1f s", self._root, len(self._seconds), sum(self._seconds), self._seconds[-1],
            )  # fmt: skip

    def _start(self, state: State) -> None:
        self._began = self._clock()
        places = [str(Path(relion_mpi.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
        # it is no rank, whatever the launcher told this one
        mine = {name: v for name, v in os.environ.items() if not name.startswith(_OF_LAUNCHERS)}
        environment = mine | dict.fromkeys(_ONE_THREAD, "1")
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, places))
        self._errors = tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(
                [*self._command, str(self._root), state.value, str(_NICENESS)], env=environment,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._errors,
            )  # fmt: skip
        except OSError as error:
            self._errors.close()
            self._tell(str(error))

    def _is_drawing(self) -> bool:
        """Look after the process that was begun last."""
        if self._process is None:
            return False
        status = self._process.poll()
        if status is None:
            return True
        seconds = self._clock() - self._began
        self._not_before = self._clock() + seconds * (1.0 / SHARE - 1.0)
        self._seconds.append(seconds)
        assert self._errors is not None
        if status:
            self._errors.seek(0)
            lines = self._errors.read().decode(errors="replace").splitlines()
            self._tell(lines[-1] if lines else f"exit status {status}")
        self._errors.close()
        self._process = None
        return False

    def _wait(self) -> None:
        if self._process is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE_SECONDS)
        if self._is_drawing():
            assert self._process is not None
            self._process.kill()
            self._process.wait()
            self._is_drawing()

    def _tell(self, reason: str) -> None:
        if not self._has_failed:
            log.warning(
                "%s: its report could not be drawn (%s); the run goes on", self._root, reason
            )
        self._has_failed = True
