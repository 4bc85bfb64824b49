"""Whether the sums of a reconstruction fit the GPUs."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from relion_mpi.core.errors import InputError
from relion_mpi.refine.gpu_memory import GIB, GpuJob, gpu_need
from relion_mpi.refine.worker import LANES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relion_mpi.backend.gpu.binding import Room
    from relion_mpi.backend.limits import Limits
    from relion_mpi.reconstruct.start import Start

log = logging.getLogger(__name__)


def check_room(start: Start, rooms: Sequence[Room], limits: Limits) -> int:
    """Predict the memory of a worker's GPU, and refuse what is more than the smallest has.

    Parameters
    ----------
    start
        What is reconstructed.
    rooms
        Of the GPUs; none on the CPU.
    limits
        Of temporary arrays.

    Returns
    -------
    int
        Bytes that the master needs of its GPU afterwards; 0 without GPUs.

    Raises
    ------
    InputError
        It does not fit.
    """
    if not rooms:
        return 0
    options, plan = start.options, start.plan
    job = GpuJob(
        plan.box_size, plan.padding, 1, options.precision,
        max(batch.particles.size for batch in start.batches), LANES["gpu"], plan.r_max,
        n_shift=1, n_child_shift=1, n_optics=plan.optics.n_groups,
        n_operators=start.group.n_ops, skip_gridding=options.skip_gridding,
        deterministic=options.deterministic, n_half=plan.n_half,
    )  # fmt: skip
    need = replace(gpu_need(job, limits), loading=0)
    room = min(rooms, key=lambda one: one.n_bytes)
    log.info(
        "A worker's GPU needs %.2f GiB (%s), %s has %.2f; to make the map, rank 0 takes %.2f",
        need.working / GIB, need, room.name, room.n_bytes / GIB, need.maximisation / GIB,
    )  # fmt: skip
    if need.working > room.n_bytes:
        raise InputError(
            f"--gpu: found {room.n_bytes / GIB:.2f} GiB for a worker on {room.name} ({room.host}), "
            f"expected {need.working / GIB:.2f}; give it fewer ranks, set --maxres or --pad 1, or "
            "leave --gpu out"
        )
    return need.mstep
