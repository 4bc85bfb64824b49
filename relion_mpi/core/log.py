"""Where log lines go: facts of rank 0 to stdout, warnings of every rank to stderr."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

_PACKAGE = "relion_mpi"


class _Lines(logging.Handler):
    """Write to the present sys.stdout or sys.stderr, and stay quiet once its reader has gone."""

    def __init__(self, stream_name: str) -> None:
        super().__init__()
        self._stream_name = stream_name

    def emit(self, record: logging.LogRecord) -> None:
        stream: TextIO | None = getattr(sys, self._stream_name)
        if stream is None:
            return
        try:
            stream.write(self.format(record) + "\n")
            stream.flush()
        except BrokenPipeError:
            silence(stream)
        except ValueError:
            # The stream was closed under us (`>&-`); a lost line must not end a run.
            return


class _Below(logging.Filter):
    """Let records below a level through."""

    def __init__(self, level: int) -> None:
        super().__init__()
        self._level = level

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno < self._level


def silence(stream: TextIO) -> None:
    """Point `stream` at nothing after its reader has closed the pipe.

    Python flushes stdout once more when it exits; without this the flush would fail again and
    turn a finished run into exit status 120.

    Parameters
    ----------
    stream
        sys.stdout or sys.stderr.
    """
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, descriptor)
    os.close(nothing)


def setup_logging(rank: int = 0, level: int | str = logging.INFO) -> None:
    """Send the package's log lines to stdout and stderr; calling again replaces the set-up.

    Parameters
    ----------
    rank
        MPI rank. Rank 0 writes plain lines from `level` up, below WARNING to stdout; other ranks
        write only warnings and errors, each with `[rank N]` in front.
    level
        Lowest level that rank 0 shows, a number or a name such as "DEBUG".
    """
    logger = logging.getLogger(_PACKAGE)
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
    logger.propagate = False
    prefix = "" if rank == 0 else f"[rank {rank}] "
    errors = _Lines("stderr")
    errors.setLevel(logging.WARNING)
    errors.setFormatter(logging.Formatter(f"{prefix}%(levelname)s: %(message)s"))
    logger.addHandler(errors)
    if rank != 0:
        logger.setLevel(logging.WARNING)
        return
    logger.setLevel(level)
    facts = _Lines("stdout")
    facts.addFilter(_Below(logging.WARNING))
    facts.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(facts)
