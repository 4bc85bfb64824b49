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
from relion_mpi.parallel.relay import shared_bytes
from relion_mpi.refine.host_mstep import mstep_moments
from relion_mpi.refine.host_worker import (
    PROGRAM_BYTES,
    SUM_BYTES,
    cpu_worker,
    gpu_worker,
    handed_bytes,
    worker_base,
)

if TYPE_CHECKING:
    from relion_mpi.refine.gpu_memory import GpuJob

Terms = dict[str, int]
"""Bytes by name."""

MIB = 2**20
GIB = 2.0**30
MASTER_BYTES, ALONE_BYTES = 80 * MIB, 45 * MIB
"""Compiled kernels and threads of the M-step, and what writes files; these where they are in one
process with those of the E-step: measured."""
PLANAR_MASTER_BYTES, PLANAR_ALONE_BYTES = 45 * MIB, 15 * MIB
"""These where references are images, whose M-step has no kernels."""
FINEST_ORDER = 7
"""HEALPix order that auto-refine reaches with good data: 0.23 degrees in the second pass."""
FILE_BYTES = 125 * MIB
"""Of the two: pages of files, which the ranks of a node share."""
MASTER_CUDA_BYTES, BOUND_CUDA_BYTES = 490 * MIB, 270 * MIB
"""CUDA on rank 0 that has the M-step there, and that only has a GPU: what four and one runs on an
H100 used beside other terms."""
COLUMN_BYTES, FOUND_BYTES, RECORD_BYTES = 179, 25, 185
"""A particle in `Particles` and its batch, in `HiddenVariables`, and in an `IterationRecord`."""
TASK_BYTES = 270
"""A particle in the tasks of an iteration, which rank 0 keeps where workers may die: counted."""
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
    keeps_images : images stay in memory after they were read; what that takes is no part of this
    timed : exhaustive searches that ranks time before the work begins, as `GpuJob.searches`
    is_saved : the middle of an iteration may be saved, and rank 0 then keeps what was summed
    has_running_sums : rank 0 keeps sums of mini-batches
    keeps_tasks : rank 0 keeps the tasks of an iteration
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
    keeps_images: bool = False
    timed: tuple[tuple[int, int], ...] = ()
    is_saved: bool = True
    has_running_sums: bool = False
    keeps_tasks: bool = False

    @property
    def map_bytes(self) -> int:
        """A map of rank 0 in the making, float64."""
        return 8 * self.job.pixels(self.job.box_size)

    @property
    def reference_bytes(self) -> int:
        """A map of the model, in the precision of the E-step."""
        return self.job.real * self.job.pixels(self.job.box_size)

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
        each = COLUMN_BYTES + FOUND_BYTES + RECORD_BYTES + TASK_BYTES * self.keeps_tasks
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
        shared = shared_bytes(n_workers + with_master)
        if not with_master:
            return shared + n_workers * self.worker_bytes - max(n_workers - 1, 0) * FILE_BYTES
        working = n_workers * self.worker_bytes + self.waiting
        travelling = n_workers * self.handed + self.reducing
        ending = n_workers * self.idle + self.master_bytes
        return shared + max(working, travelling, ending) - n_workers * FILE_BYTES


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
    worker = (gpu_worker if host.on_gpu else cpu_worker)(host)
    kept = _kept_of_master(host)
    own = PLANAR_MASTER_BYTES if host.job.planar else MASTER_BYTES
    of_master = {"program": PROGRAM_BYTES + own, **kept}
    if host.on_gpu:
        of_master["CUDA"] = MASTER_CUDA_BYTES if host.mstep_on_gpu else BOUND_CUDA_BYTES
    packed = host.job.n_half * SUM_BYTES * host.packed
    saved = packed * host.is_saved
    mstep = {"reduction": {"packed sums": packed + saved}, **_mstep(host)}
    master = {name: of_master | terms for name, terms in mstep.items()}
    waiting, idle = sum(of_master.values()), sum(worker_base(host).values())
    return HostNeed(
        worker, master, _alone(host, worker, master, kept), waiting + saved,
        idle + handed_bytes(host), idle, waiting + packed + saved,
    )  # fmt: skip


def _kept_of_master(host: HostJob) -> Terms:
    """List what rank 0 keeps through an iteration; it broadcasts the maps as they are."""
    job = host.job
    maps = job.n_half * job.n_class * host.reference_bytes
    found = {"maps": maps + host.n_masks * host.map_bytes, "particle table": host.table}
    if host.has_running_sums:
        found["running sums"] = 2 * SUM_BYTES * host.packed  # and what was added last
    return found


def _mstep(host: HostJob) -> dict[str, Terms]:
    """Moments of `relion_mpi.refine.maximisation.maximisation` and of the record after it."""
    # Two half-maps and that of both, without a filter too; or the classes, of which the former
    # ones may be on their way to files while new ones are made.
    halves, classes = 3 + 2 * host.fsc_mask, host.job.n_class
    if host.job.n_half > 1:
        record = {"maps of the files": halves * host.map_bytes}
    else:
        record = {"maps of the files": classes * host.reference_bytes}
    moments = {}
    if not host.mstep_on_gpu:
        moments = mstep_moments(host.job, host.packed, fsc_mask=host.fsc_mask)
    if host.has_running_sums:
        # `RunningSums.add`: of the mini-batch, new, and what is kept of the earlier ones.
        moments["adding a mini-batch"] = {"packed sums": 3 * SUM_BYTES * host.packed}
    return {**moments, "record": record}


def as_far_as(host: HostJob, order: int, first_order: int, image_size: int = 0) -> HostJob:
    """Return the job without the samplings and image sizes that a run did not reach.

    Parameters
    ----------
    host
        What was refined; that no middle of an iteration was saved is assumed.
    order
        HEALPix order of its last iteration.
    first_order
        Of its first one.
    image_size
        The largest of its iterations; 0 for the largest there is.
    """
    job, n_global = host.job, len(host.job.searches)
    size = image_size or 2 * job.shells
    reached = job.searches[: max(order - first_order + 1, 1)]
    searches = tuple((n_orient, min(own, size)) for n_orient, own in reached)
    return replace(
        host,
        job=replace(job, searches=searches, r_max=size // 2),
        local_order=order if order >= first_order + n_global else 0,
        is_saved=False,
    )


def _alone(
    host: HostJob, worker: dict[str, Terms], master: dict[str, Terms], kept: Terms
) -> dict[str, Terms]:
    """Add what rank 0 keeps to the worker's moments; sums are copied (`InlineCrew.reduce`)."""
    found = {}
    both = {"program of rank 0": PLANAR_ALONE_BYTES if host.job.planar else ALONE_BYTES}
    for name, terms in worker.items():
        own = {k: v for k, v in terms.items() if k != "maps"}  # the same arrays as rank 0's
        found[name] = {**own, **kept, **both}
    program = {**worker_base(host), **both}
    for name, terms in master.items():
        found[name] = terms | program
    found["reduction"] = found["reduction"] | {"the worker's sums": handed_bytes(host)}
    return found
