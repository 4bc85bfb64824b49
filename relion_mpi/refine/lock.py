"""One job an output: a file beside it says who writes there."""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import re
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import Any, Self

from relion_mpi.core.errors import InputError

log = logging.getLogger(__name__)

REFRESH_SECONDS = 30.0
STALE_SECONDS = 300.0
"""A lock of another host that was not refreshed for so long is that of a job that is gone. Network
file systems may show times that are a minute old."""

_TURN_SECONDS = 0.05
# Not only the root: another job may write to the same folder, with a root that begins like ours.
_OUTPUTS = (
    r"(it\d{3,}_.+|half\d_.+|class\d{3}.+|(data|model|optimiser|sampling|quarantine)\.star"
    r"|report\.html)"
)
_JOB_IDS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")
# How often Slurm has put the same job into its queue again.
_RESTARTS = "SLURM_RESTART_COUNT"


class OutputLock:
    """`<o>.lock`, held from the moment it is made until `release`.

    Parameters
    ----------
    root
        --o of the job; its folder exists.
    refresh_seconds
        How often a thread renews the file's time.

    Raises
    ------
    InputError
        Another job holds it, or the file cannot be made.

    Notes
    -----
    A job that was killed leaves its lock. On the host that it ran on the lock is void as soon as
    the process is gone, elsewhere after STALE_SECONDS without a sign of life, and at once for the
    same job that a scheduler has started again: it does so once all processes have ended. It may
    also leave files that it had not finished, under names of their own; these are removed.
    """

    def __init__(self, root: Path, refresh_seconds: float = REFRESH_SECONDS) -> None:
        self.path = root.with_name(f"{root.name}.lock")
        self._root = root
        self._mine = _this_job()
        self._seconds = refresh_seconds
        self._released = threading.Event()
        try:
            self._take()
        except OSError as error:
            raise InputError(
                f"{self.path}: the lock of the output could not be made "
                f"({error.strerror or error}), expected a folder that may be written to; choose "
                "another --o"
            ) from error
        atexit.register(self.release)
        _remove_unfinished(root)
        threading.Thread(target=self._refresh, name="output lock", daemon=True).start()

    def release(self) -> None:
        """Remove the file, unless it has become another job's; more than once is fine."""
        if self._released.is_set():
            return
        self._released.set()
        atexit.unregister(self.release)
        with contextlib.suppress(OSError):
            if _read(self.path).get("token") == self._mine["token"]:
                self.path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _take(self) -> None:
        while not self._made():
            try:
                holder = _read(self.path)
                is_void = self._is_mine(holder) or _is_void(self.path, holder)
            except FileNotFoundError:
                continue  # its job ended just now
            if not is_void:
                raise InputError(self._held_by(holder))
            if self._removed(holder):
                log.warning(
                    "%s: the job that held the output is gone (%s): its lock is void",
                    self.path, _told(holder),
                )  # fmt: skip

    def _is_mine(self, holder: dict[str, Any]) -> bool:
        """Tell whether the lock is of an earlier start of this job."""
        same = bool(self._mine["job"]) and holder.get("job") == self._mine["job"]
        return same and int(holder.get("restarts", 0)) < self._mine["restarts"]

    def _made(self) -> bool:
        """Make the file if there is none."""
        try:
            handle = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(self._mine, file)
        return True

    def _removed(self, holder: dict[str, Any]) -> bool:
        """Remove a void lock, unless another job is about to.

        Whoever removes one holds a second file meanwhile: else two that found the same void lock
        could remove each other's new one.
        """
        turn = self.path.with_name(f"{self.path.name}.void")
        try:
            os.close(os.open(turn, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        except FileExistsError:
            with contextlib.suppress(FileNotFoundError):
                if _now_at(turn) - turn.stat().st_mtime > STALE_SECONDS:
                    turn.unlink()  # its job was killed just then
            time.sleep(_TURN_SECONDS)
            return False
        try:
            with contextlib.suppress(FileNotFoundError):
                if _read(self.path) == holder:
                    self.path.unlink()
                    return True
            return False
        finally:
            turn.unlink(missing_ok=True)

    def _held_by(self, holder: dict[str, Any]) -> str:
        return (
            f"--o {self._root}: another job writes there ({_told(holder)}), expected one job an "
            f"output; wait for its end, choose another --o or, if that job is gone, remove "
            f"{self.path}"
        )

    def _refresh(self) -> None:
        """Renew the file's time; an error here ends all ranks (`relion_mpi.parallel.abort`)."""
        while not self._released.wait(self._seconds):
            try:
                holder = _read(self.path)
            except FileNotFoundError:
                with contextlib.suppress(OSError):
                    self._made()
                continue
            except OSError:
                continue  # a file system that is away for a while
            if holder.get("token") == self._mine["token"]:
                with contextlib.suppress(OSError):
                    os.utime(self.path)
            elif not self._released.is_set():
                raise InputError(self._held_by(holder))


def held(root: Path) -> bool | None:
    """Tell whether a job writes to an output now.

    Parameters
    ----------
    root
        --o of the job.

    Returns
    -------
    bool or None
        None without a lock; False if the job that made it is gone.
    """
    path = root.with_name(f"{root.name}.lock")
    try:
        return not _is_void(path, _read(path))
    except FileNotFoundError:
        return None
    except OSError:  # a folder that may not be written to has no clock to ask
        return time.time() - path.stat().st_mtime <= STALE_SECONDS


def _this_job() -> dict[str, Any]:
    names = (os.environ.get(name) for name in _JOB_IDS)
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "job": next((name for name in names if name), ""),
        "restarts": _restarts(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "pids": _pid_namespace(),
        "began": _began(os.getpid()),
        "token": uuid.uuid4().hex,
    }


def _restarts() -> int:
    text = os.environ.get(_RESTARTS, "")
    return int(text) if text.isdecimal() else 0


def _remove_unfinished(root: Path) -> None:
    """Remove what `relion_mpi.io.atomic.replacing` had no time to rename or remove."""
    ours = re.compile(rf"\.{re.escape(root.name)}_{_OUTPUTS}\.\d+\.tmp")
    with contextlib.suppress(OSError):
        for path in root.parent.iterdir():
            if ours.fullmatch(path.name):
                path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    """Return what a lock says; nothing if it is being written, or is no lock of ours."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _told(holder: dict[str, Any]) -> str:
    if not holder:
        return "it does not say which"
    job = f", job {holder['job']}" if holder.get("job") else ""
    return f"process {holder.get('pid')} on {holder.get('host')}{job}, since {holder.get('since')}"


def _is_void(path: Path, holder: dict[str, Any]) -> bool:
    here = (socket.gethostname(), _pid_namespace())
    if holder and (holder.get("host"), holder.get("pids")) == here:
        # A process of the same number that began at another time is another one.
        began = _began(int(holder.get("pid", 0)))
        return began is None or began != holder.get("began")
    return _now_at(path) - path.stat().st_mtime > STALE_SECONDS


def _began(pid: int) -> str | None:
    """Return when a process began, in ticks since the host did; None if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name, in brackets, may hold blanks. State Z is a process that has ended.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else fields[19]


def _pid_namespace() -> str:
    """Tell containers of one host apart: they number processes each on its own."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _now_at(path: Path) -> float:
    """Return the time by the clock of the file system, which may be another host's."""
    probe = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)
