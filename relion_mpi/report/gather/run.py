"""All that a page is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from relion_mpi.core.errors import InputError
from relion_mpi.geometry.coverage import Coverage, coverage, view_counts
from relion_mpi.geometry.symmetry import point_group
from relion_mpi.report.gather.course import Moment, read_course
from relion_mpi.report.gather.history import Step, read_history
from relion_mpi.report.gather.messages import read_messages
from relion_mpi.report.gather.origin import Origin, read_origin
from relion_mpi.report.gather.particles import ParticleColumns, read_particles
from relion_mpi.report.gather.sharpened import (
    Sharpened,
    find_sharpened,
    read_local_resolution,
    read_sharpened,
)
from relion_mpi.report.gather.state import State, state_of
from relion_mpi.report.gather.volumes import (
    Volume,
    central_sections,
    class_averages,
    class_maps,
    read_volume,
)

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from relion_mpi.report.gather.job import Job


@dataclass(frozen=True, slots=True)
class Views:
    """Where particles are seen from.

    Attributes
    ----------
    counts : float64 (n_pix,) from `relion_mpi.geometry.coverage.view_counts`
    coverage : what they are worth
    symmetry : point group that they were multiplied by
    is_known : whether that is the run's; where no file names it, views are as in the table
    """

    counts: NDArray[np.float64]
    coverage: Coverage
    symmetry: str
    is_known: bool


@dataclass(frozen=True, slots=True)
class Run:
    """A run as its files tell of it.

    Attributes
    ----------
    job : files
    origin : program and options
    state : how it is
    steps : iterations; none for a post-processing alone
    course : times of iterations, empty for RELION's
    particles : of the last iteration, or None
    n_left_out : particles that were found to be unusable
    views : None in two dimensions
    maps : of the last iteration by class; None where missing
    averages : float32 (n_class, n, n) in two dimensions
    sections : iteration -> float32 (n, n)
    sharpened, sharpened_map : post-processing and its map
    local_resolution : name of the file and values, Angstrom
    messages : lines of the log
    """

    job: Job
    origin: Origin
    state: State
    steps: tuple[Step, ...]
    course: tuple[Moment, ...]
    particles: ParticleColumns | None
    n_left_out: int
    views: Views | None
    maps: list[Volume | None]
    averages: NDArray[np.float32] | None
    sections: dict[int | None, NDArray[np.float32]]
    sharpened: Sharpened | None
    sharpened_map: Volume | None
    local_resolution: tuple[str, NDArray[np.float32]] | None
    messages: tuple[str, ...]

    @property
    def last(self) -> Step | None:
        """Last iteration."""
        return self.steps[-1] if self.steps else None

    @property
    def is_first(self) -> bool:
        """Whether nothing was searched yet."""
        return self.last is not None and self.last.iteration == 0

    @property
    def is_planar(self) -> bool:
        """Whether classes are images."""
        return bool(self.steps) and self.steps[-1].is_planar

    @property
    def has_halves(self) -> bool:
        """Whether two half-sets are refined apart."""
        return bool(self.steps) and self.steps[-1].fsc is not None


def gather(
    job: Job,
    postprocess: Path | None = None,
    state: State | None = None,
    symmetry: str | None = None,
) -> Run:
    """Read all that is shown.

    Parameters
    ----------
    job
        Files of a run.
    postprocess
        Table or folder of a post-processing elsewhere.
    state
        How the run is, where the caller knows.
    symmetry
        Point group, where the files do not name it.

    Returns
    -------
    Run

    Raises
    ------
    InputError
        A model file or the post-processing that was named cannot be read, or the point group is
        unknown.
    """
    origin = read_origin(job)
    steps = read_history(job)
    particles = _particles(job)
    last = steps[-1] if steps else None
    planar = last is not None and last.is_planar
    sharpened = read_sharpened(postprocess) if postprocess else find_sharpened(job.folder)
    folders = (job.folder,) if sharpened is None else (sharpened.path.parent, job.folder)
    return Run(
        job=job,
        origin=origin,
        state=state or state_of(job, origin),
        steps=steps,
        course=read_course(job.root.with_name(f"{job.name}_metrics.jsonl")),
        particles=particles,
        n_left_out=_n_left_out(job),
        views=None if planar else _views(particles, symmetry or origin.symmetry),
        maps=[] if last is None or planar else class_maps(job, last),
        averages=class_averages(job, last) if last is not None and planar else None,
        sections=central_sections(job, steps) if steps else {},
        sharpened=sharpened,
        sharpened_map=_sharpened_map(sharpened),
        local_resolution=read_local_resolution(folders),
        messages=read_messages(job.folder),
    )


def _particles(job: Job) -> ParticleColumns | None:
    try:
        return read_particles(job.data[-1][1]) if job.data else None
    except (InputError, IndexError):
        return None


def _n_left_out(job: Job) -> int:
    try:
        found = read_particles(job.root.with_name(f"{job.name}_quarantine.star"))
    except (InputError, IndexError):
        return 0
    return found.n_particles


def _views(particles: ParticleColumns | None, symmetry: str | None) -> Views | None:
    if particles is None or particles.rot_deg is None or particles.tilt_deg is None:
        return None
    group = point_group(symmetry or "C1")
    counts = view_counts(particles.rot_deg, particles.tilt_deg, group)
    return Views(counts, coverage(counts), group.name, symmetry is not None)


def _sharpened_map(sharpened: Sharpened | None) -> Volume | None:
    return None if sharpened is None or sharpened.map is None else read_volume(sharpened.map)
