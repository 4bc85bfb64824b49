"""What a refinement will need of the hosts' memory, said before it starts."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from relion_mpi.fourier.shells import padded_size

log = logging.getLogger(__name__)

GIB = 2.0**30
RANK_BYTES = GIB
"""Batches and programs, a rank."""
CACHE_SHARE = 0.5
"""Of what a run leaves over; the rest stays with the system's file cache and with others."""
CONTROL_GROUPS = Path("/sys/fs/cgroup")
MY_GROUPS = Path("/proc/self/cgroup")


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes at the largest image size, that of the last iteration.

    Attributes
    ----------
    worker_bytes : references and sums of both half-sets, and what makes them
    master_bytes : reduced and symmetrised sums, and the reconstruction
    """

    worker_bytes: float
    master_bytes: float


def memory_need(
    box_size: int, padding: int, n_class: int, *, on_gpu: bool, double: bool
) -> MemoryNeed:
    """Estimate the memory of a worker and of the master.

    Parameters
    ----------
    box_size, padding, n_class
        Of the model.
    on_gpu
        The volumes live on the GPU: the worker needs host memory only to pass sums on.
    double
        The E-step is in float64.
    """
    size = padded_size(box_size // 2, padding)
    voxels = float(size * size * (size // 2 + 1)) * n_class
    real = 8 if double else 4
    cube = float((padding * box_size) ** 3)
    making = 3 * real * cube
    volumes = 2 * voxels * (2 * real + 3 * 8)
    worker = 2 * voxels * 3 * 8 if on_gpu else volumes + making
    # Reduced volumes, then data and weights of both halves, then one padded inverse transform.
    master = voxels * (2 * 24 + 2 * 24 + 16) + 2 * 8 * cube
    return MemoryNeed(worker, master)


def say_need(need: MemoryNeed, n_workers_here: int, *, together: bool) -> None:
    """Log the need of this node, and warn if it is more than is free.

    Parameters
    ----------
    need
        Of one worker and of the master.
    n_workers_here
        Workers on the master's node.
    together
        Master and worker are one process, so the worker's volumes stay while the master works.
    """
    total = need.master_bytes + need.worker_bytes * max(n_workers_here, int(together))
    log.info(
        "The last iteration will need about %.1f GiB a worker and %.1f GiB on rank 0, "
        "%.1f GiB on this node; batches and programs come on top (about 1 GiB a rank)",
        need.worker_bytes / GIB, need.master_bytes / GIB, total / GIB,
    )  # fmt: skip
    free = available_bytes()
    if free is not None and total > free:
        log.warning(
            "this node has %.1f GiB free: use fewer ranks a node, --pad 1, or a smaller box",
            free / GIB,
        )


def image_cache_bytes(
    need: MemoryNeed, n_workers_here: int, *, with_master: bool, share: float = CACHE_SHARE
) -> int:
    """Choose how much of this node's memory may keep images.

    Parameters
    ----------
    need
        Of one worker and of the master.
    n_workers_here
        Workers on this node.
    with_master
        Rank 0 is on this node too.
    share
        Of the memory that is left over by the run itself.

    Returns
    -------
    int
        Bytes for all workers of the node together; 0 where Linux does not say what is free.
    """
    free = available_bytes()
    if free is None:
        return 0
    n_ranks = n_workers_here + with_master
    run = n_workers_here * need.worker_bytes + n_ranks * RANK_BYTES
    run += need.master_bytes if with_master else 0.0
    return max(int(share * (free - run)), 0)


def available_bytes() -> float | None:
    """Memory that programs can still get on this host, or None where Linux does not say.

    A container or batch job may get less than its host has: the limits of its control groups count.
    """
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return min([float(line.split()[1]) * 1024, *group_rooms()])
    return None


def group_rooms(root: Path = CONTROL_GROUPS, mine: Path = MY_GROUPS) -> list[float]:
    """List what each control group around this process still allows; without limits nothing.

    Parameters
    ----------
    root
        Where the groups' files are.
    mine
        Says which groups this process is in.
    """
    try:
        lines = mine.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    rooms = []
    for _, kinds, path in (line.split(":", 2) for line in lines):
        if kinds == "":
            top, names = root, ("memory.max", "memory.current", "")
        elif "memory" in kinds.split(","):
            top = root / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
        else:
            continue
        inner = top / path.lstrip("/")
        groups = [inner, *inner.parents]
        # A container sees its own group as the top one, and its path on the host.
        for group in groups[: groups.index(top) + 1]:
            room = _group_room(group, *names)
            if room is not None:
                rooms.append(room)
    return rooms


def _group_room(group: Path, limit_name: str, used_name: str, prefix: str) -> float | None:
    """Return limit less use of one group, files in the system's cache not counted as use."""
    try:
        limit = float((group / limit_name).read_text(encoding="ascii"))
        used = float((group / used_name).read_text(encoding="ascii"))
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):  # no such group, or "max"
        return None
    files = (prefix + "active_file", prefix + "inactive_file")
    cached = sum(float(value) for name, value in map(str.split, lines) if name in files)
    return max(limit - used + cached, 0.0)
