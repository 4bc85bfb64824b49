"""A process beside rank 0 that outlives it: a job that is killed cannot say that it was."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

# Standard input ends when the job does, in whichever way.
_PROGRAM = """
import os, sys
os.read(0, 1)
folder, failure, *others = sys.argv[1:]
if not any(os.path.exists(os.path.join(folder, name)) for name in (failure, *others)):
    open(os.path.join(folder, failure), "x").close()
"""
_PATIENCE = 10.0


@contextlib.contextmanager
def guarded(folder: Path, failure: str, others: Sequence[str]) -> Iterator[None]:
    """Leave a sign of failure if this process is killed within the block.

    Parameters
    ----------
    folder
        Of the signs.
    failure
        Name of the sign.
    others
        Names of the signs of another end; with any of them there nothing is left.
    """
    try:
        # In a session of its own: launchers end what belongs to a job by its group.
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _PROGRAM, str(folder.resolve()), failure, *others],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            cwd="/", start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        log.warning("no process can be started (%s): a killed job will leave no sign", error)
        yield
        return
    assert process.stdin is not None
    try:
        yield
    finally:
        process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE)
