"""Remove shared memory that killed jobs of MPICH left on this host.

MPICH names it after the job and its step, and Slurm counts steps from 0 each time that it starts
a job. A job that was killed and is started again on the same host would find the old memory under
the name of the new one: its ranks then wait for ever in MPI_Init, or fail with `invalid bandwidth`.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from relion_mpi.parallel.shared_memory import SHM_FOLDER

_PATTERN = "mpich_shm_*"


def remove_leftovers(folder: Path | str = SHM_FOLDER) -> list[Path]:
    """Remove this user's files of MPICH that no process has in use.

    Parameters
    ----------
    folder
        Where MPICH puts them.

    Returns
    -------
    list of Path
        What was removed.
    """
    mine = [path for path in Path(folder).glob(_PATTERN) if _is_mine(path)]
    used = _mapped() if mine else set()
    removed = []
    for path in mine:
        if str(path) not in used:
            with contextlib.suppress(OSError):
                path.unlink()
                removed.append(path)
    return removed


def _is_mine(path: Path) -> bool:
    try:
        return path.stat().st_uid == os.geteuid()
    except OSError:
        return False


def _mapped() -> set[str]:
    """Return the files that processes of this user have in memory."""
    found: set[str] = set()
    for path in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            found.update(line.split(maxsplit=5)[-1] for line in lines if "/" in line)
    return found


if __name__ == "__main__":
    remove_leftovers()
