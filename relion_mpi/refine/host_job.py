"""From a start, or from options, to what decides the memory of the hosts."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from relion_mpi.core.memory import image_cache_bytes
from relion_mpi.dataset.image_cache import make_layout
from relion_mpi.parallel import lost_ranks
from relion_mpi.refine.class_options import ClassOptions
from relion_mpi.refine.gpu_job import gpu_job
from relion_mpi.refine.host_memory import FINEST_ORDER, HostJob, host_need
from relion_mpi.refine.options import RefineOptions
from relion_mpi.refine.worker import LANES

if TYPE_CHECKING:
    from relion_mpi.refine.gpu_memory import GpuJob
    from relion_mpi.refine.start import Start


def host_job(start: Start, n_workers_here: int = 1) -> HostJob:
    """Describe a refinement for `relion_mpi.refine.host_memory.host_need`.

    Parameters
    ----------
    start
        What `relion_mpi.refine.start.make_start` prepared.
    n_workers_here
        Workers on this node, which share its cores.
    """
    # It measures with the threads that `threads_of` gives.
    from relion_mpi.refine.plan_time import course_of

    options, model = start.options, start.model
    job = gpu_job(
        options, model.box_size, model.pixel_size_angst, n_class=model.n_class,
        batch_size=max(batch.particles.size for batch in start.batches),
        n_optics=start.particles.optics.n_groups,
    )  # fmt: skip
    on_gpu = options.gpu is not None
    is_refined = isinstance(options, RefineOptions)
    local_order = 0 if options.exhaustive_orders else options.healpix_order
    host = HostJob(
        on_backend(job, on_gpu=on_gpu),
        on_gpu=on_gpu,
        mstep_on_gpu=start.gpu is not None and start.gpu.mstep_fits and not job.planar,
        n_particles=start.particles.n_particles,
        text_bytes=options.i.stat().st_size,
        n_masks=1 + (start.inner is not None),
        fsc_mask=isinstance(options, RefineOptions) and options.solvent_correct_fsc,
        n_threads=options.j or threads_of(n_workers_here),
        local_order=FINEST_ORDER if is_refined else local_order,
        timed=() if course_of(start) is None else job.searches,
        is_saved=options.checkpoint_minutes > 0,
        has_running_sums=isinstance(options, ClassOptions) and options.grad,
        keeps_tasks=lost_ranks.can_go_on(),
    )  # fmt: skip
    return replace(host, keeps_images=_fit(start, host, n_workers_here))


def _fit(start: Start, host: HostJob, n_workers_here: int) -> bool:
    """Tell whether this node's memory will keep all images, as `image_cache_bytes` decides."""
    if not start.options.preread_images:
        return False
    n_bytes = make_layout(
        start.particles, start.batches, sys.maxsize, half=start.options.preread_half
    ).n_bytes
    run = host_need(host).node_bytes(n_workers_here, with_master=True)
    return n_bytes <= image_cache_bytes(run)


def on_backend(job: GpuJob, *, on_gpu: bool) -> GpuJob:
    """Return the job with as many batches at once as a worker of a backend does.

    Parameters
    ----------
    job
        What is refined.
    on_gpu
        Workers have GPUs.
    """
    return replace(job, n_lanes=LANES["gpu" if on_gpu else "cpu"])


def threads_of(n_workers: int) -> int:
    """Share the cores that this process may use.

    Parameters
    ----------
    n_workers
        Ranks that share them.
    """
    return max(len(os.sched_getaffinity(0)) // max(n_workers, 1), 1)
