"""From a start, or from options, to what decides the memory of the hosts."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from relion_mpi.refine.gpu_job import gpu_job
from relion_mpi.refine.host_memory import FINEST_ORDER, HostJob
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
    options, model = start.options, start.model
    job = gpu_job(
        options, model.box_size, model.pixel_size_angst, n_class=model.n_class,
        batch_size=max(batch.particles.size for batch in start.batches),
        n_optics=start.particles.optics.n_groups,
    )  # fmt: skip
    on_gpu = options.gpu is not None
    is_refined = isinstance(options, RefineOptions)
    local_order = 0 if options.exhaustive_orders else options.healpix_order
    return HostJob(
        on_backend(job, on_gpu=on_gpu),
        on_gpu=on_gpu,
        mstep_on_gpu=start.gpu is not None and start.gpu.mstep_fits and not job.planar,
        n_particles=start.particles.n_particles,
        text_bytes=options.i.stat().st_size,
        n_masks=1 + (start.inner is not None),
        fsc_mask=isinstance(options, RefineOptions) and options.solvent_correct_fsc,
        n_threads=options.j or threads_of(n_workers_here),
        local_order=FINEST_ORDER if is_refined else local_order,
    )


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
