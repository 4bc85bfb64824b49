"""What a refinement will need of the hosts' memory, said before it starts."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from relion_mpi.fourier.shells import padded_size

log = logging.getLogger(__name__)

GIB = 2.0**30


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


def available_bytes() -> float | None:
    """Memory that programs can still get on this host, or None where Linux does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return float(line.split()[1]) * 1024
    return None
