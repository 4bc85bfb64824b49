"""Kill ranks at chosen moments of a job: `RELION_MPI_KILL=1:reduce:2,3:work:9`.

Each part is a rank, a moment, and which time the rank comes to it, from 1. Moments are the worker's
own, but for `between`: then rank 0 kills it, at what it was told to count.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from relion_mpi.parallel import comm, relay, worker_loop


def arm(folder, worker, between):
    """Do what RELION_MPI_KILL says.

    `folder` is for process numbers, `worker` the class of workers, `between` an owner and the name
    of what rank 0 calls when workers have nothing to do.
    """
    rank = comm.world().rank
    (Path(folder) / f"pid{rank}").write_text(str(os.getpid()))
    moments = {
        "obey": (worker_loop._Loop, "_obey"),
        "broadcast": (relay.Relay, "broadcast"),
        "begin": (worker, "begin"),
        "prepare": (worker, "prepare"),
        "work": (worker, "work"),
        "pack": (worker, "sums"),
        "reduce": (relay.Relay, "add_to_sum"),
        "count": (worker, "counts"),
    }
    for part in filter(None, os.environ.get("RELION_MPI_KILL", "").split(",")):
        victim, moment, time = part.split(":")
        if moment == "between" and rank == 0:
            pid = Path(folder) / f"pid{victim}"
            _arm(*between, int(time), lambda pid=pid: int(pid.read_text()))
        elif moment != "between" and int(victim) == rank:
            _arm(*moments[moment], int(time), os.getpid)


def _arm(owner, name, time, pid):
    before, n = getattr(owner, name), 0

    def counted(*given, **named):
        nonlocal n
        n += 1
        if n == time:
            os.kill(pid(), signal.SIGKILL)
        return before(*given, **named)

    setattr(owner, name, counted)
