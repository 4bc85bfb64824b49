"""Predict memory and time before a run: of a GPU, of the hosts, and what would fit at most."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from relion_mpi.backend.gpu import device
from relion_mpi.backend.limits import Limits
from relion_mpi.core.errors import InputError
from relion_mpi.core.memory import capacity_bytes
from relion_mpi.dataset.particles import read_particles
from relion_mpi.refine.batch_size import batch_size_for
from relion_mpi.refine.gpu_fit import GpuFit, largest_box, refusal, try_to_fit
from relion_mpi.refine.gpu_job import gpu_job
from relion_mpi.refine.gpu_memory import GIB, GpuJob, GpuNeed, gpu_need
from relion_mpi.refine.host_job import on_backend, threads_of
from relion_mpi.refine.host_memory import HostJob, HostNeed, host_need
from relion_mpi.refine.host_report import MARGIN, NodeRoom
from relion_mpi.refine.host_report import refusal as host_refusal
from relion_mpi.refine.options import RefineOptions
from relion_mpi.refine.plan_time import plan_time

if TYPE_CHECKING:
    from relion_mpi.refine.plan_options import PlanOptions
    from relion_mpi.refine.time_estimate import TimeEstimate

BOXES = (64, 128, 192, 256, 320, 360, 400, 512)
CLASSES = (1, 2, 4, 8, 16)
LARGEST_OF = (1, 2, 4, 8)
MANY = 1_000_000


@dataclass(frozen=True, slots=True)
class Node:
    """The node that rank 0 is on.

    Attributes
    ----------
    gpu : name of its GPUs; empty where there is none
    n_gpus, n_ranks : of the node, rank 0 included
    gpu_bytes : free on each GPU before the run
    """

    gpu: str
    n_gpus: int
    n_ranks: int
    gpu_bytes: int

    @property
    def n_workers(self) -> int:
        """Ranks that do the E-step."""
        return max(self.n_ranks - 1, 1)

    @property
    def n_sharing(self) -> int:
        """Most workers on a GPU."""
        return -(-self.n_workers // max(self.n_gpus, 1))

    @property
    def room(self) -> int | None:
        """What a worker may hold of its GPU, as at a run's start; None without a GPU."""
        if not self.n_gpus:
            return None
        contexts = self.n_sharing + int(self.n_ranks > 1)
        free = max(self.gpu_bytes - contexts * device.CONTEXT_BYTES, 0)
        return device.fair_share(free, 0, 0, 0, self.n_sharing) + device.CONTEXT_BYTES


@dataclass(frozen=True, slots=True)
class Prediction:
    """What `relion-mpi plan` found.

    Attributes
    ----------
    job, n_particles : what is refined
    node : where
    fit : on the GPU; None without one, or where nothing fits
    need : of a GPU; without one with the limits that are wanted
    refusal : why it does not fit; empty where it does
    host, room : of the processes, and the node's memory
    time : of a refinement here; None where it is not asked for, or would be elsewhere
    largest : box by number of classes; empty without a GPU
    table : bytes by (box, classes), None where it does not fit; empty where not asked for
    """

    job: GpuJob
    n_particles: int
    node: Node
    fit: GpuFit | None
    need: GpuNeed
    refusal: str
    host: HostNeed
    room: NodeRoom
    time: TimeEstimate | None
    largest: dict[int, int]
    table: dict[tuple[int, int], int | None]


def plan(options: PlanOptions) -> Prediction:
    """Predict what a refinement will need.

    Parameters
    ----------
    options
        What is to be refined, and on what.

    Returns
    -------
    Prediction
        For `relion_mpi.refine.plan_text.as_text`.

    Raises
    ------
    InputError
        The particles cannot be read, or neither they nor a box are given.
    """
    if options.i is not None:
        particles = read_particles(options.i)
        options = replace(
            options,
            box=int(particles.optics.box_size[0]),
            angpix=float(particles.optics.pixel_size_angst[0]),
            n=particles.n_particles,
        )
    n_optics = 1 if options.i is None else particles.optics.n_groups
    if options.box < 2 or options.box % 2:
        raise InputError(
            f"--box {options.box}: expected an even number of pixels, or a STAR file with --i"
        )
    node = _node(options)
    job = _job(options, options.box, options.n_class, n_optics, on_gpu=node.n_gpus > 0)
    room = node.room
    fit = None if room is None else try_to_fit(room, job)
    refused = ""
    if room is not None and fit is None:
        refused = refusal(room, job, node.n_sharing)
    host = _host(options, node, job, fit)
    need, place = host_need(host), _place(options, node)
    there = place.capacity_bytes
    if there is not None and place.need(need) > MARGIN * there:
        refused = "; ".join(filter(None, (refused, host_refusal(host, place))))
    return Prediction(
        job,
        options.n,
        node,
        fit,
        _wanted(options, n_optics) if fit is None else fit.need,
        refused,
        need,
        place,
        plan_time(
            _run(options), job, options.angpix, options.n, node.n_workers, has_gpu=node.n_gpus > 0
        )
        if options.time and options.n and not options.gpu_memory and not refused
        else None,
        {} if room is None
        else {k: largest_box(room, replace(job, n_class=k)) for k in LARGEST_OF},
        _table(options, room) if options.table else {},
    )  # fmt: skip


def _wanted(options: PlanOptions, n_optics: int) -> GpuNeed:
    return gpu_need(_job(options, options.box, options.n_class, n_optics), Limits())


def _host(options: PlanOptions, node: Node, job: GpuJob, fit: GpuFit | None) -> HostJob:
    on_gpu = node.n_gpus > 0
    return HostJob(
        on_backend(job if fit is None else fit.job, on_gpu=on_gpu),
        on_gpu=on_gpu,
        mstep_on_gpu=fit is not None and fit.mstep_fits,
        n_particles=options.n,
        text_bytes=0 if options.i is None else options.i.stat().st_size,
        n_threads=threads_of(node.n_workers),
    )


def _place(options: PlanOptions, node: Node) -> NodeRoom:
    """Take the node's memory as told, or that of this one."""
    there: float | None = options.host_memory * GIB
    if not there:
        there = None if options.gpu_memory else capacity_bytes()
    return NodeRoom("the node", node.n_workers, True, node.n_ranks == 1, None, there)


def _run(options: PlanOptions) -> RefineOptions:
    """Make the options of the run to come, as far as they are known."""
    return RefineOptions(
        i=Path(), o=Path(), ref=Path(), pad=options.pad, precision=options.precision,
        sym=options.sym, particle_diameter=options.particle_diameter,
    )  # fmt: skip


def _job(
    options: PlanOptions, box_size: int, n_class: int, n_optics: int = 1, *, on_gpu: bool = True
) -> GpuJob:
    size = options.batch or batch_size_for(options.n or MANY, box_size, on_gpu=on_gpu)
    return gpu_job(
        _run(options), box_size, options.angpix, n_class=n_class, batch_size=size,
        n_optics=n_optics,
    )  # fmt: skip


def _node(options: PlanOptions) -> Node:
    """Take what was told of the node, and ask for the rest."""
    if options.gpu_memory > 0:
        n_gpus, name = options.gpus or 1, "a GPU"
        free = int(options.gpu_memory * GIB)
    elif device.n_devices():
        n_gpus = options.gpus or device.n_devices()
        found = device.describe(0, ask_free=True)
        # The answer cost a context, which is this process's own.
        name, free = found.name, (found.free_bytes or 0) + device.CONTEXT_BYTES
    else:
        n_gpus, name, free = 0, "", 0
    return Node(name, n_gpus, options.ranks or max(n_gpus, 1) + 1, free)


def _table(options: PlanOptions, room: int | None) -> dict[tuple[int, int], int | None]:
    """Predict boxes and classes; without a GPU's memory nothing is made smaller."""
    found: dict[tuple[int, int], int | None] = {}
    for box_size in BOXES:
        for k in CLASSES:
            job = _job(options, box_size, k)
            if room is None:
                found[box_size, k] = gpu_need(job, Limits()).working
            else:
                fit = try_to_fit(room, job)
                found[box_size, k] = None if fit is None else fit.need.working
    return found
