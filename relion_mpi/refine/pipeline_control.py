"""Files by which RELION's interface learns how a job ended, and asks a job to end."""

from __future__ import annotations

import contextlib
import logging
import threading
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from relion_mpi.parallel.abort import AgreedStop
from relion_mpi.refine.guardian import guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)

SUCCESS = "RELION_JOB_EXIT_SUCCESS"
FAILURE = "RELION_JOB_EXIT_FAILURE"
ABORTED = "RELION_JOB_EXIT_ABORTED"
ABORT_NOW = "RELION_JOB_ABORT_NOW"
ABORTED_STATUS = 2
FLAG = "--pipeline_control"


class JobEnded(AgreedStop):
    """An end was asked for; all ranks leave together with a status that says so."""


def folder_in(words: Sequence[str]) -> Path | None:
    """Find the folder in a command line as it was typed.

    The line is searched, not the options made of it: a line that cannot be read must leave its
    sign too, or the interface shows the job as running for ever.

    Parameters
    ----------
    words
        Words after the command.

    Returns
    -------
    Path or None
        None where none is named.
    """
    value = value_of(FLAG, words)
    return None if value is None else Path(value)


def value_of(flag: str, words: Sequence[str]) -> str | None:
    """Find what follows a flag in a command line as it was typed.

    Parameters
    ----------
    flag
        With its dashes.
    words
        Words after the command.

    Returns
    -------
    str or None
        The last one; None where there is none.
    """
    found = None
    for word, after in pairwise([*words, ""]):
        name, equals, value = word.partition("=")
        if name.replace("-", "_") == flag.replace("-", "_"):
            value = value if equals else after
            found = value if value and not value.startswith("--") else found
    return found


def clear(folder: Path | None) -> None:
    """Remove how an earlier job ended.

    Parameters
    ----------
    folder
        Of the job, or None.
    """
    if folder is None:
        return
    for name in (SUCCESS, FAILURE, ABORTED):
        try:
            (folder / name).unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s: could not be removed (%s)", folder / name, error.strerror)


def sign(folder: Path | None, name: str) -> None:
    """Leave an empty file that says how the job ended; never raises for the file's sake.

    Parameters
    ----------
    folder
        Of the job, or None.
    name
        SUCCESS, FAILURE or ABORTED.
    """
    if folder is None:
        return
    try:
        (folder / name).touch()
    except OSError as error:
        log.warning("%s: could not be written (%s)", folder / name, error.strerror)


def abort_asked(folder: Path | None) -> bool:
    """Look whether the interface asks for an end.

    Parameters
    ----------
    folder
        Of the job, or None.

    Returns
    -------
    bool
        Whether RELION_JOB_ABORT_NOW is there.
    """
    return folder is not None and (folder / ABORT_NOW).exists()


def signed(folder: Path | None, rank: int, run: Callable[[], int]) -> int:
    """Run on this rank and leave a file that says how it ended.

    Rank 0 tells of success. Of a failure tells the rank that fails, before it ends all the
    others; what fails in a thread is told too. What is killed is told by `guardian`.

    Parameters
    ----------
    folder
        Where to; None for nowhere.
    rank
        This rank.
    run
        Work to do.

    Returns
    -------
    int
        What `run` returned.
    """
    if folder is None:
        return run()
    with guarded(folder, FAILURE, (SUCCESS, ABORTED)) if rank == 0 else contextlib.nullcontext():
        return _signed(folder, rank, run)


def _signed(folder: Path, rank: int, run: Callable[[], int]) -> int:
    before = threading.excepthook

    def in_thread(arguments: threading.ExceptHookArgs) -> None:
        sign(folder, FAILURE)
        before(arguments)

    threading.excepthook = in_thread
    try:
        status = run()
    except JobEnded:
        sign(folder, ABORTED)
        with contextlib.suppress(OSError):  # it would end the job that goes on with this one
            (folder / ABORT_NOW).unlink(missing_ok=True)
        raise
    except BaseException:
        sign(folder, FAILURE)
        raise
    finally:
        threading.excepthook = before
    if rank == 0:
        sign(folder, FAILURE if status else SUCCESS)
    return status
