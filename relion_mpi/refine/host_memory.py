"""What a refinement holds in the memory of hosts, predicted moment by moment from sizes.

Every number but that of the bare program follows from the arrays of the code that is named beside
it. Moments are those of the largest image size, that of the last iteration, or of the exhaustive
searches, whose tables outweigh the volumes of small boxes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from relion_mpi.fourier.half_ball import n_kept
from relion_mpi.fourier.shells import padded_size
from relion_mpi.refine.host_estep import (
    batch_arrays,
    kept_by_accuracy,
    kept_slices,
    local_grid,
)
from relion_mpi.refine.host_mstep import mstep_moments

if TYPE_CHECKING:
    from relion_mpi.refine.gpu_memory import GpuJob

Terms = dict[str, int]
"""Bytes by name."""

MIB = 2**20
GIB = 2.0**30
PROGRAM_BYTES = 180 * MIB
"""Python, its libraries, MPI: measured with two cores; a thread more costs 0.1 MiB."""
KERNEL_BYTES, MASTER_BYTES, ALONE_BYTES = 65 * MIB, 80 * MIB, 45 * MIB
"""Compiled kernels and threads of the E-step; those of the M-step, and what writes files; these
where they are in one process with the others: measured."""
LOCAL_BYTES = 35 * MIB
"""Compiled kernels of local searches: measured."""
FINEST_ORDER = 7
"""HEALPix order that auto-refine reaches with good data: 0.23 degrees in the second pass."""
FILE_BYTES = 125 * MIB
"""Of the two: pages of files, which the ranks of a node share."""
CUDA_BYTES, MASTER_CUDA_BYTES = 700 * MIB, 490 * MIB
"""CUDA, CuPy and its libraries on a rank that works on a GPU, and on rank 0, which has the M-step
there: a guess, which one refinement on an H100 used; and what two used there beside other terms."""
HEAP_ARRAY, HEAP_BYTES = 32 * MIB, 64 * MIB
"""The C library keeps freed arrays below the first, up to the second in each thread (glibc's
largest M_MMAP_THRESHOLD and M_TRIM_THRESHOLD)."""
SUM_BYTES = 24
"""A voxel of sums: real, imaginary, weight in float64."""
STAGING_BYTES = 3 * 2**21
"""Reals of `relion_mpi.backend.gpu.accumulate.packed`'s pinned buffer."""
COLUMN_BYTES, FOUND_BYTES, RECORD_BYTES = 179, 25, 185
"""A particle in `Particles` and its batch, in `HiddenVariables`, and in an `IterationRecord`."""
TEXT_COPIES = 3
"""The table's text: as read, as columns, as sorted columns."""
ROW_TEXT = 300
"""Bytes of a row where the table is not known."""


@dataclass(frozen=True, slots=True)
class HostJob:
    """What decides the memory of the hosts.

    Attributes
    ----------
    job : box, padding, classes, precision, batch, searches
    on_gpu : workers have GPUs
    mstep_on_gpu : rank 0 has one, and the M-step fits it
    n_particles, text_bytes : of the particle table; no bytes where its file is not known
    n_masks : maps that rank 0 keeps beside the references
    fsc_mask : the FSC is corrected for a mask
    n_threads : of a worker
    local_order : finest HEALPix order of local searches; 0 for none
    """

    job: GpuJob
    on_gpu: bool = False
    mstep_on_gpu: bool = False
    n_particles: int = 0
    text_bytes: int = 0
    n_masks: int = 1
    fsc_mask: bool = False
    n_threads: int = 1
    local_order: int = FINEST_ORDER

    @property
    def map_bytes(self) -> int:
        """A map of rank 0, float64."""
        return 8 * self.job.pixels(self.job.box_size)

    @property
    def packed(self) -> int:
        """Voxels of a half-set's sums on their way to rank 0."""
        if self.job.planar:
            return self.job.n_class * self.job.voxels
        return self.job.n_class * n_kept(padded_size(self.job.shells, self.job.padding))

    @property
    def table(self) -> int:
        """Bytes of the particle table, of what was found, and of one record on its way to files."""
        text = self.text_bytes or ROW_TEXT * self.n_particles
        each = COLUMN_BYTES + FOUND_BYTES + RECORD_BYTES
        return self.n_particles * each + TEXT_COPIES * text


@dataclass(frozen=True, slots=True)
class HostNeed:
    """Bytes by name at the moments that may be the highest.

    Attributes
    ----------
    worker, master, alone : of a rank at work, of rank 0 beside workers, and of a run of one process
    waiting : what rank 0 holds while the workers work; what they summed before the middle of an
        iteration was saved is part of it
    handed, idle : what a worker holds while its sums travel, and after that
    reducing : what rank 0 holds while sums travel
    """

    worker: dict[str, Terms]
    master: dict[str, Terms]
    alone: dict[str, Terms]
    waiting: int
    handed: int
    idle: int
    reducing: int

    @property
    def worker_bytes(self) -> int:
        """Peak of a rank at work."""
        return peak(self.worker)[1]

    @property
    def master_bytes(self) -> int:
        """Peak of rank 0 beside workers."""
        return peak(self.master)[1]

    @property
    def alone_bytes(self) -> int:
        """Peak of a run of one process."""
        return peak(self.alone)[1]

    def node_bytes(self, n_workers: int, *, with_master: bool, together: bool = False) -> int:
        """Peak of a node, without the images that it keeps.

        Workers and rank 0 peak at different moments: sums are there in the E-step, the M-step's
        volumes once the workers have given theirs away.

        Parameters
        ----------
        n_workers
            Ranks at work on it.
        with_master
            Rank 0 is on it too.
        together
            The run is one process.
        """
        if together:
            return self.alone_bytes
        if not with_master:
            return n_workers * self.worker_bytes - max(n_workers - 1, 0) * FILE_BYTES
        working = n_workers * self.worker_bytes + self.waiting
        travelling = n_workers * self.handed + self.reducing
        ending = n_workers * self.idle + self.master_bytes
        return max(working, travelling, ending) - n_workers * FILE_BYTES


def peak(moments: dict[str, Terms]) -> tuple[str, int]:
    """Return the moment with the most bytes, and these.

    Parameters
    ----------
    moments
        Of a process.
    """
    totals = {name: sum(terms.values()) for name, terms in moments.items()}
    name = max(totals, key=lambda one: totals[one])
    return name, totals[name]


def host_need(host: HostJob) -> HostNeed:
    """Predict the memory of the hosts' processes.

    Parameters
    ----------
    host
        What is refined.

    Returns
    -------
    HostNeed
        Bytes.
    """
    worker = _gpu_worker(host) if host.on_gpu else _cpu_worker(host)
    kept = _kept_of_master(host)
    of_master = {"program": PROGRAM_BYTES + MASTER_BYTES, **kept}
    if host.mstep_on_gpu:
        of_master["CUDA"] = MASTER_CUDA_BYTES
    packed = host.job.n_half * SUM_BYTES * host.packed
    # Of a saved middle of an iteration, and what came after it.
    mstep = {"reduction": {"packed sums": 2 * packed}, **_mstep(host)}
    master = {name: of_master | terms for name, terms in mstep.items()}
    waiting, idle = sum(of_master.values()), PROGRAM_BYTES + KERNEL_BYTES
    if host.on_gpu:
        idle += CUDA_BYTES
    return HostNeed(
        worker, master, _alone(host, worker, master, kept), waiting + packed,
        idle + host.job.n_half * worker_sum_bytes(host) * host.packed, idle, waiting + 2 * packed,
    )  # fmt: skip


def worker_sum_bytes(host: HostJob) -> int:
    """Bytes of a packed voxel as a worker holds it."""
    return 3 * host.job.real if host.on_gpu else SUM_BYTES


def _kept_of_master(host: HostJob) -> Terms:
    """List what rank 0 keeps through an iteration, what it broadcast included."""
    job = host.job
    maps = job.n_half * job.n_class * (host.map_bytes + job.real * job.pixels(job.box_size))
    return {"maps": maps + host.n_masks * host.map_bytes, "particle table": host.table}


def _mstep(host: HostJob) -> dict[str, Terms]:
    """Moments of `relion_mpi.refine.maximisation.maximisation` and of the record after it."""
    new_maps = (3 + 2 * host.fsc_mask) * host.map_bytes
    record = {"maps of the files": new_maps + host.job.n_half * host.job.n_class * host.map_bytes}
    if host.mstep_on_gpu:
        return {"record": record}
    moments = mstep_moments(host.job, host.packed, fsc_mask=host.fsc_mask)
    return {**moments, "record": record}


def _cpu_worker(host: HostJob) -> dict[str, Terms]:
    job = host.job
    one = 2 * job.real * job.n_class * job.voxels
    maps = job.n_half * job.real * job.n_class * job.pixels(job.box_size)
    loading, array = _loading(job)
    # Arrays of one thread take the place of what it freed before.
    heap, lane_heap = kept_heap(array, loading), kept_heap(0, kept_by_accuracy(job))
    base = {"program": PROGRAM_BYTES + KERNEL_BYTES}
    volumes = {
        "references": job.n_half * one,
        "sums": job.n_half * SUM_BYTES * job.n_class * job.voxels,
    }
    base["freed, not returned"] = heap
    found = {
        # Both are there twice while they are stacked (`CPUBackend.load_references`).
        "loading": {
            **base, "references": (job.n_half - 1) * one, "maps": maps,
            "making a reference": max(loading + one * (job.n_class - 1) // job.n_class, 2 * one),
        },
        # `CPUBackend.fetch_sums`; the references go only after it (`RefineWorker.sums`).
        "handing over sums": {
            **base, **volumes, "packed sums": 2 * SUM_BYTES * host.packed,
            "freed by batches, not returned": lane_heap,
        },
    }  # fmt: skip
    for n_orient, image_size in job.searches:
        found[f"searching {n_orient} orientations"] = {
            **base, **volumes, "coarse slices": kept_slices(job, n_orient, image_size),
            "batch": max(batch_arrays(job, n_orient, image_size, host.n_threads), lane_heap),
        }  # fmt: skip
    if host.local_order:
        slices = max((kept_slices(job, *search) for search in job.searches), default=0)
        found[f"local searches of order {host.local_order}"] = {
            **base, **volumes, "kernels of local searches": LOCAL_BYTES,
            "freed by searches, not returned": kept_heap(0, slices),
            "directions": local_grid(job, host.local_order),
            "batch": max(batch_arrays(job, 0, 0, host.n_threads), lane_heap),
        }  # fmt: skip
        # What was only there while they were made is gone.
        found["handing over sums"]["kernels of local searches"] = LOCAL_BYTES
        found["handing over sums"]["directions"] = local_grid(job, host.local_order) // 2
    return found


def as_far_as(host: HostJob, order: int, first_order: int) -> HostJob:
    """Return the job without the samplings that a run did not reach.

    Parameters
    ----------
    host
        What was refined.
    order
        HEALPix order of its last iteration.
    first_order
        Of its first one.
    """
    n_global = len(host.job.searches)
    return replace(
        host,
        job=replace(host.job, searches=host.job.searches[: max(order - first_order + 1, 1)]),
        local_order=order if order >= first_order + n_global else 0,
    )


def _gpu_worker(host: HostJob) -> dict[str, Terms]:
    """Images, maps and sums on their way: volumes are on the GPU."""
    job = host.job
    base = {"program": PROGRAM_BYTES + KERNEL_BYTES, "CUDA": CUDA_BYTES}
    images = (job.n_lanes + 1) * job.batch_size * 4 * job.box_size**2
    if job.noise_fill:
        images *= 2
    packed = job.n_half * worker_sum_bytes(host) * host.packed
    return {
        "loading": {**base, "maps": job.n_half * job.real * job.n_class * job.pixels(job.box_size)},
        "E-step": {
            **base, "images of batches": images, "kernels of local searches": LOCAL_BYTES,
            "directions": local_grid(job, host.local_order) if host.local_order else 0,
        },
        "handing over sums": {
            **base, "packed sums": packed, "page-locked buffer": job.real * STAGING_BYTES,
        },
    }  # fmt: skip


def _alone(
    host: HostJob, worker: dict[str, Terms], master: dict[str, Terms], kept: Terms
) -> dict[str, Terms]:
    """Add what rank 0 keeps to the worker's moments; sums are copied (`InlineCrew.reduce`)."""
    found = {}
    for name, terms in worker.items():
        own = {k: v for k, v in terms.items() if k != "maps"}  # the same arrays as rank 0's
        found[name] = {**own, **kept, "program of rank 0": ALONE_BYTES}
    program = {"program of the worker": ALONE_BYTES}
    if host.on_gpu:
        program["CUDA"] = CUDA_BYTES
    elif "freed, not returned" in worker["loading"]:
        program["freed, not returned"] = worker["loading"]["freed, not returned"]
    for name, terms in master.items():
        found[name] = terms | program
    copies = host.job.n_half * (2 * SUM_BYTES + worker_sum_bytes(host)) * host.packed
    found["reduction"] = found["reduction"] | {"packed sums": copies}
    return found


def kept_heap(array_bytes: int, total_bytes: int) -> int:
    """Bytes that a thread keeps of arrays it freed.

    Parameters
    ----------
    array_bytes
        Size of one.
    total_bytes
        Of all that were there at a time.
    """
    return min(total_bytes, HEAP_BYTES) if array_bytes < HEAP_ARRAY else 0


def _loading(job: GpuJob) -> tuple[int, int]:
    """`transform_reference` of one class: all its arrays at once, and the size of one of them."""
    box, big, real = job.box_size, job.padding * job.box_size, job.real
    corrected, transform = real * job.pixels(box), 2 * real * job.half_pixels(big)
    out = 2 * real * job.voxels
    return corrected + max(
        real * job.pixels(big) + real * job.pixels(big) // job.padding + transform,
        transform + 2 * out,
        transform + out + (8 + 8 + 1) * job.voxels,
    ), transform
