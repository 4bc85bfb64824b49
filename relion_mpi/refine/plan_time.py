"""Estimate the time of a refinement before it starts: on this node, or with the ranks of a job."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from relion_mpi.parallel import roll_call
from relion_mpi.parallel.threads import set_threads
from relion_mpi.refine.calibration import measure_estep, measure_mstep
from relion_mpi.refine.host_job import threads_of
from relion_mpi.refine.options import RefineOptions
from relion_mpi.refine.time_estimate import TimeEstimate, estimate, rests_on

if TYPE_CHECKING:
    from relion_mpi.parallel.comm import World
    from relion_mpi.refine.gpu_memory import GpuJob
    from relion_mpi.refine.start import Start

log = logging.getLogger(__name__)

WORTH_PARTICLES = 1000
"""A run of fewer is not worth the seconds of an estimate."""


@dataclass(frozen=True, slots=True)
class Course:
    """What ranks must know to time their work.

    Attributes
    ----------
    options : with the particle diameter filled in
    box_size, pixel_size_angst, n_particles : of the data
    """

    options: RefineOptions
    box_size: int
    pixel_size_angst: float
    n_particles: int


def course_of(start: Start) -> Course | None:
    """Say what is to be timed at the start of a run; None where nothing is.

    Parameters
    ----------
    start
        What `relion_mpi.refine.start.make_start` prepared. GPUs are not timed: their memory is
        shared out already, and classifications have another course.
    """
    options, model, n = start.options, start.model, start.particles.n_particles
    if not isinstance(options, RefineOptions):
        return None
    if n < WORTH_PARTICLES or options.gpu is not None or start.saved is not None:
        return None
    return Course(options, model.box_size, model.pixel_size_angst, n)


def say_time(ranks: World, course: Course) -> None:
    """Let all ranks time their part at once, and log the estimate; collective over all ranks.

    Parameters
    ----------
    ranks
        The job.
    course
        The same on all ranks.
    """
    rates = None
    if ranks.rank or ranks.size == 1:
        rates = measure_estep(course.options, course.box_size, course.pixel_size_angst)
    found = [one for one in roll_call.gather(ranks, rates) if one is not None]
    if ranks.rank == 0:
        mstep = measure_mstep(course.options, course.box_size)
        told = estimate(course.n_particles, found, mstep)
        log.info("Time to convergence: %s; %s", told, rests_on(told))

def plan_time(
    options: RefineOptions,
    job: GpuJob,
    pixel_size_angst: float,
    n_particles: int,
    n_workers: int,
    *,
    has_gpu: bool,
) -> TimeEstimate:
    """Time a little work of this process, and scale it to the node.

    Parameters
    ----------
    options
        Of the run.
    job
        What is refined.
    pixel_size_angst
        Of the images.
    n_particles
        Of both half-sets.
    n_workers
        Ranks at work: each has a GPU of its own, or all share the cores.
    has_gpu
        The work is done on GPUs.
    """
    set_threads(threads_of(1))
    options = replace(options, gpu="" if has_gpu else None)
    rates = measure_estep(options, job.box_size, pixel_size_angst)
    n_at_once = n_workers if has_gpu else 1
    return estimate(n_particles, [rates] * n_at_once, measure_mstep(options, job.box_size))
