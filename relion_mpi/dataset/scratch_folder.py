"""A job's own folder on a scratch disk: made, locked, found again, removed.

A lock of the kernel (`flock`) says whose it is: it ends with the last process that holds it, in
whichever way that ends. A folder that is locked is never touched.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from relion_mpi.core.errors import InputError
from relion_mpi.io.atomic import replacing

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

PREFIX = "relion_mpi_"
_LOCK, _ABOUT = "lock", "about.json"
_FORMAT = 1
_JOB_IDS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")

# Standard input ends when the job does, in whichever way; the lock is inherited, so that nobody
# takes the folder over meanwhile. A byte means that the folder has been seen to.
_CLEANER = """
import os, shutil, sys
if not os.read(0, 1):
    shutil.rmtree(sys.argv[1], ignore_errors=True)
"""


@dataclass(frozen=True, slots=True)
class Leftover:
    """A folder that another job left.

    Attributes
    ----------
    path : the folder
    host, since, job : of the job that made it
    is_kept : left on purpose, else by a job that was killed
    """

    path: Path
    host: str
    since: str
    job: str
    is_kept: bool

    @property
    def is_of_this_host(self) -> bool:
        """Whether its job ran here, so that its lock can be trusted."""
        return self.host == socket.gethostname()


class ScratchFolder:
    """A folder of this job, locked until `close`.

    Parameters
    ----------
    path
        The folder; it exists.
    lock
        Descriptor that holds its lock.
    keep
        Leave it to later jobs.
    """

    def __init__(self, path: Path, lock: int, *, keep: bool) -> None:
        self.path = path
        self._lock, self._keep = lock, keep
        self._cleaner = None if keep else _start_cleaner(path, lock)

    def close(self) -> None:
        """Remove the folder, or leave it to later jobs; more than once is fine."""
        if self._lock < 0:
            return
        if self._keep:
            with contextlib.suppress(OSError):
                _write_about(self.path, kept=True)
        else:
            shutil.rmtree(self.path, ignore_errors=True)
            if self.path.exists():
                log.warning("%s could not be removed: remove it by hand", self.path)
        if self._cleaner is not None and self._cleaner.stdin is not None:
            with contextlib.suppress(OSError):
                self._cleaner.stdin.write(b"x")
                self._cleaner.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._cleaner.wait(10.0)
        os.close(self._lock)
        self._lock = -1

    def abandon(self) -> None:
        """Leave the removal to the process that waits for the end of this one."""
        if self._cleaner is None:
            self.close()


def check_scratch(root: Path) -> None:
    """Refuse a --scratch_dir that cannot be written to.

    Parameters
    ----------
    root
        The option.

    Raises
    ------
    InputError
        Names the host: folders differ between nodes.
    """
    where = f"--scratch_dir {root}: on {socket.gethostname()}"
    cure = (
        "choose a folder that every node has, or leave the option out (with --continue: "
        "--scratch_dir None)"
    )
    if not root.is_dir():
        raise InputError(f"{where} there is no such folder; {cure}")
    if not os.access(root, os.W_OK | os.X_OK):
        raise InputError(f"{where} the folder may not be written to; {cure}")


def new_folder(root: Path, *, keep: bool) -> ScratchFolder:
    """Make a folder of a name that no other job has.

    Parameters
    ----------
    root
        --scratch_dir.
    keep
        Leave it to later jobs.

    Raises
    ------
    InputError
        It cannot be made.
    """
    path = root / f"{PREFIX}{socket.gethostname()}_{os.getpid()}_{uuid.uuid4().hex[:8]}"
    try:
        path.mkdir(mode=0o700)
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _is_locked_now(lock)
        _write_about(path, kept=False)
    except OSError as error:
        shutil.rmtree(path, ignore_errors=True)
        raise InputError(
            f"--scratch_dir {root}: on {socket.gethostname()} the folder {path.name} could not be "
            f"made there ({error.strerror}); free space, choose another one or leave the option out"
        ) from error
    return ScratchFolder(path, lock, keep=keep)


def leftovers(root: Path) -> list[Leftover]:
    """List the folders of jobs that are gone; those of running jobs are left out.

    Parameters
    ----------
    root
        --scratch_dir.
    """
    found = []
    for path in sorted(root.glob(f"{PREFIX}*")):
        lock = _locked(path)
        if lock is None:
            continue
        os.close(lock)
        about = _about(path)
        if about.get("format") == _FORMAT:
            host, since, job = (str(about.get(name, "")) for name in ("host", "since", "job"))
            found.append(Leftover(path, host, since, job, bool(about.get("kept"))))
    return found


def take_over(found: Leftover, *, keep: bool) -> ScratchFolder | None:
    """Make a leftover this job's own.

    Parameters
    ----------
    found
        The folder.
    keep
        Leave it to later jobs.

    Returns
    -------
    ScratchFolder or None
        None if another job was faster, or it cannot be written to.
    """
    lock = _locked(found.path)
    if lock is None:
        return None
    try:
        _write_about(found.path, kept=False)
    except OSError:
        os.close(lock)
        return None
    return ScratchFolder(found.path, lock, keep=keep)


def _locked(path: Path) -> int | None:
    """Lock a folder that is there and return the descriptor; None if it is another job's."""
    try:
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    if _is_locked_now(lock) and (path / _LOCK).exists():
        return lock
    os.close(lock)
    return None


def _is_locked_now(lock: int) -> bool:
    """Take the lock if nobody has it; a file system without locks says no."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
            log.warning("locks do not work on the scratch disk (%s)", error.strerror)
        return False
    return True


def _about(path: Path) -> dict[str, Any]:
    try:
        found = json.loads((path / _ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_about(path: Path, *, kept: bool) -> None:
    names = (os.environ.get(name) for name in _JOB_IDS)
    about = {
        "format": _FORMAT,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "job": next((name for name in names if name), ""),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "kept": kept,
    }
    with replacing(path / _ABOUT) as temporary:
        temporary.write_text(json.dumps(about), encoding="utf-8")


def _start_cleaner(path: Path, lock: int) -> subprocess.Popen[bytes] | None:
    """Start a process that removes the folder if this one is ended before it can.

    A rank that fails has all others killed by the launcher, which gives them no time.
    """
    try:
        # In a session of its own: launchers end what belongs to a job by its group.
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _CLEANER, str(path.resolve())],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            cwd="/", start_new_session=True, pass_fds=(lock,),
        )  # fmt: skip
    except OSError as error:
        log.warning("no process can be started (%s): a killed job will leave %s", error, path)
        return None
