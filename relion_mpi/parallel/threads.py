"""How many threads a rank may use."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from relion_mpi.parallel import comm

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from relion_mpi.parallel.comm import World

log = logging.getLogger(__name__)

_chosen: list[int] = []


def threads_per_rank(requested: int | None = None, ranks: World | None = None) -> int:
    """Share this node's cores among its workers; collective over all ranks.

    Rank 0 works only when it is alone. Otherwise it gets all the cores that it may use, because its
    own work (the M-step) is done while the workers sleep.

    Parameters
    ----------
    requested
        Threads that the user asked for, taken as they are.
    ranks
        The job; `comm.world()` if left out.

    Returns
    -------
    int
        At least 1.
    """
    job = comm.world() if ranks is None else ranks
    mine = sorted(os.sched_getaffinity(0))
    on_node = comm.gather_on_node(job, mine)
    workers = [set(cores) for rank, cores in on_node if rank != 0 or job.size == 1]
    is_master = job.rank == 0 and job.size > 1
    share = len(mine) if is_master else share_of_cores(mine, workers)
    quota = _quota_cores()
    if quota is not None:
        share = min(share, max(quota if is_master else quota // max(len(workers), 1), 1))
    chosen = share if requested is None else max(requested, 1)
    if job.rank == 0:
        source = "cores shared among the workers" if requested is None else "as requested"
        log.info(
            "%d rank(s), %d on this node; %d core(s) seen; %d thread(s) on rank 0 (%s)",
            job.size, len(on_node), len(mine), chosen, source,
        )  # fmt: skip
    return chosen


def share_of_cores(mine: Collection[int], workers: Sequence[Collection[int]]) -> int:
    """Count this rank's cores, a core used by several workers as a fraction.

    Ranks bound to cores of their own get all of them; unbound ranks share alike.

    Parameters
    ----------
    mine
        Cores that this worker may use.
    workers
        Cores of every worker on the node, this one included.

    Returns
    -------
    int
        At least 1.
    """
    fractions = (1.0 / max(sum(core in cores for cores in workers), 1) for core in mine)
    # The small term keeps 3 * (1/3) at 1.
    return max(int(sum(fractions) + 1e-9), 1)


def set_threads(n: int) -> None:
    """Give numba `n` threads in this process, and each product of BLAS one.

    Products are shared out over threads by whoever calls them (`relion_mpi.backend.cpu.coarse`).

    Parameters
    ----------
    n
        At least 1. numba cannot go above the number it started with; then that is used.
    """
    import numba

    possible = int(numba.config.NUMBA_NUM_THREADS)
    if n > possible:
        log.warning("%d threads asked for, numba has %d (NUMBA_NUM_THREADS)", n, possible)
    _chosen[:] = [min(n, possible)]
    numba.set_num_threads(_chosen[0])
    limit_blas()


def limit_blas() -> None:
    """Give each product of BLAS one thread, where several are worked out at once."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=1, user_api="blas")


def adopt_threads() -> None:
    """Give numba in the calling thread the number of threads that `set_threads` chose.

    numba's setting belongs to a thread; BLAS's belongs to the process.
    """
    if _chosen:
        import numba

        numba.set_num_threads(_chosen[0])


def _quota_cores() -> int | None:
    """Return the whole cores that the control group allows, or None without a limit.

    A container limited by time and not by core set still shows all cores of its machine.
    """
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()[:2]
        return max(int(quota) // int(period), 1)
    except (OSError, ValueError):
        return None
