"""What a rank at work holds in the memory of its host, moment by moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relion_mpi.refine.host_estep import (
    NOISE_BYTES,
    accuracy_arrays,
    batch_arrays,
    images_read,
    kept_slices,
    local_grid,
    timing_arrays,
)

if TYPE_CHECKING:
    from relion_mpi.refine.gpu_memory import GpuJob
    from relion_mpi.refine.host_memory import HostJob, Terms

MIB = 2**20
PROGRAM_BYTES = 180 * MIB
"""Python, its libraries, MPI: measured with two cores; a thread more costs 0.1 MiB."""
KERNEL_BYTES, LOCAL_BYTES = 65 * MIB, 35 * MIB
"""Compiled kernels and threads of the E-step; those of local searches beside them: measured."""
FIRST_KERNEL_BYTES = 35 * MIB
"""Those of both when the ranks time their work, with which they begin: measured."""
CUDA_BYTES, PLANAR_CUDA_BYTES = 700 * MIB, 530 * MIB
"""CUDA, CuPy, its libraries and their pages on a rank that works on a GPU, with volumes and with
images: what three and one runs on an H100 used beside other terms."""
SUM_BYTES = 24
"""A voxel of sums: real, imaginary, weight in float64."""
STAGING_BYTES = 3 * 2**21
"""Reals of `relion_mpi.backend.gpu.accumulate.packed`'s pinned buffer."""


def worker_base(host: HostJob) -> Terms:
    """List what a worker holds in any case.

    Parameters
    ----------
    host
        What is refined.
    """
    base = {"program": PROGRAM_BYTES + KERNEL_BYTES}
    if host.on_gpu:
        base["CUDA"] = PLANAR_CUDA_BYTES if host.job.planar else CUDA_BYTES
    return base


def cpu_worker(host: HostJob) -> dict[str, Terms]:
    """List the moments of a worker on the CPU.

    Parameters
    ----------
    host
        What is refined.
    """
    job, n_threads, base = host.job, host.n_threads, worker_base(host)
    references = {"references": job.n_half * job.n_class * _reference(job)}
    sums = {"sums": job.n_half * SUM_BYTES * job.n_class * job.voxels}
    images = images_read(job, kept=host.keeps_images)
    read = {"images as read": images}
    found = {
        "measuring the noise": {
            **base, **read, "power of a batch": NOISE_BYTES * job.batch_size * job.box_size**2,
        },
        "loading": {
            **base, **references,
            "maps": job.n_half * job.real * job.n_class * job.pixels(job.box_size),
            "making a reference": _making(job),
        },
        "expecting accuracies": {**base, **references, "slices": accuracy_arrays(job)},
    }  # fmt: skip
    if host.timed:
        base = base | {"kernels of local searches": LOCAL_BYTES}
        found["timing this machine"] = {
            "program": PROGRAM_BYTES + FIRST_KERNEL_BYTES,
            "noise images": timing_arrays(job, host.timed, n_threads),
        }
    for n_orient, image_size in job.searches:
        found[f"searching {n_orient} orientations"] = {
            **base, **references, **sums, **read,
            "coarse slices": kept_slices(job, n_orient, image_size),
            "batch": batch_arrays(job, n_orient, image_size, n_threads),
        }  # fmt: skip
    if host.local_order or not job.searches:
        found[f"local searches of order {host.local_order}"] = {
            **base, **references, **sums, **read, "kernels of local searches": LOCAL_BYTES,
            "directions": 0 if job.planar else local_grid(job, host.local_order),
            "batch": batch_arrays(job, 0, 0, n_threads),
        }  # fmt: skip
    return found


def gpu_worker(host: HostJob) -> dict[str, Terms]:
    """List the moments of a worker on a GPU: images, maps and sums on their way.

    Parameters
    ----------
    host
        What is refined.
    """
    job, base = host.job, worker_base(host)
    packed = job.n_half * sum_bytes(host) * host.packed
    working = {**base, "images as read": images_read(job, kept=host.keeps_images)}
    if host.local_order:
        working["kernels of local searches"] = LOCAL_BYTES
        working["directions"] = local_grid(job, host.local_order)
    return {
        "loading": {**base, "maps": job.n_half * job.real * job.n_class * job.pixels(job.box_size)},
        "E-step": working,
        "handing over sums": {
            **base, "packed sums": packed, "page-locked buffer": job.real * STAGING_BYTES,
        },
    }  # fmt: skip


def sum_bytes(host: HostJob) -> int:
    """Bytes of a packed voxel as a worker has it on its way to rank 0."""
    return 3 * host.job.real if host.on_gpu else SUM_BYTES


def handed_bytes(host: HostJob) -> int:
    """Bytes that a worker's sums take while they travel: on the CPU where they were summed."""
    each = sum_bytes(host) * host.packed
    if not host.on_gpu:
        each = SUM_BYTES * host.job.n_class * host.job.voxels
    return host.job.n_half * each


def _reference(job: GpuJob) -> int:
    return 2 * job.real * job.voxels


def _making(job: GpuJob) -> int:
    """`transform_reference` of the last class, beside all references."""
    big = job.padding * job.box_size
    transform = 2 * job.real * job.half_pixels(big)
    padded = job.real * job.pixels(big) // job.padding  # what is not 0
    before = max((8 + 8 + job.real) * job.pixels(job.box_size), padded + transform)
    return max(transform, before - _reference(job))
