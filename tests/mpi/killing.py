"""Kill ranks in a chosen moment of a job: `RELION_MPI_KILL=1:reduce:2,3:work:9`.

Each part is the rank, the moment, and which time it comes to it, from 1. Moments are those of the
worker that dies, but for `mstep`: rank 0 kills that worker then.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from relion_mpi.parallel import buffers, comm, worker_loop
from relion_mpi.refine import programme
from relion_mpi.refine.worker import RefineWorker

MOMENTS = {
    "broadcast": (buffers, "broadcast"),
    "begin": (RefineWorker, "begin"),
    "prepare": (RefineWorker, "prepare"),
    "work": (RefineWorker, "work"),
    "pack": (RefineWorker, "sums"),
    "reduce": (buffers, "add_to_sum"),
    "count": (RefineWorker, "counts"),
    "obey": (worker_loop._Loop, "_obey"),
}


def arm(folder):
    """Prepare for what RELION_MPI_KILL says; `folder` is for process numbers."""
    rank = comm.world().rank
    (Path(folder) / f"pid{rank}").write_text(str(os.getpid()))
    for part in filter(None, os.environ.get("RELION_MPI_KILL", "").split(",")):
        victim, moment, time = part.split(":")
        if moment == "mstep" and rank == 0:
            pid = Path(folder) / f"pid{victim}"
            for cls in (programme.AutoRefine, programme.Classification3D):
                _arm(cls, "maximise", int(time), lambda pid=pid: int(pid.read_text()))
        elif moment != "mstep" and int(victim) == rank:
            _arm(*MOMENTS[moment], int(time), os.getpid)


def _arm(owner, name, time, pid):
    before = getattr(owner, name)
    n = 0

    def counted(*given, **named):
        nonlocal n
        n += 1
        if n == time:
            os.kill(pid(), signal.SIGKILL)
        return before(*given, **named)

    setattr(owner, name, counted)
