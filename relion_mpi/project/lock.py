"""RELION's lock of a project's file: a folder that is there while somebody writes."""

from __future__ import annotations

import contextlib
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from relion_mpi.project.place import PIPELINE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK = ".relion_lock"
PATIENCE_SECONDS = 120.0
"""As long as RELION's programs wait."""
_PAUSE_SECONDS = 0.1


@contextmanager
def locked(project: Path, patience_seconds: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Keep RELION's programs, and other jobs of ours, from writing the project's file.

    Parameters
    ----------
    project
        Folder of the project.
    patience_seconds
        How long to wait for another's lock.

    Raises
    ------
    TimeoutError
        It did not go.
    OSError
        The folder cannot be written to.
    """
    folder = project / LOCK
    note = folder / f"lock_{PIPELINE}"
    give_up = time.monotonic() + patience_seconds
    while True:
        try:
            folder.mkdir()  # one of several that try succeeds
            break
        except FileExistsError:
            if time.monotonic() > give_up:
                raise TimeoutError(
                    f"{note}: another program has held RELION's lock for {patience_seconds:g} s; "
                    "if none is running, remove the folder"
                ) from None
            time.sleep(_PAUSE_SECONDS)
    try:
        note.write_text("lock file of relion-mpi\n", encoding="utf-8")
        yield
    finally:
        note.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()
