"""A reconstruction on all ranks: rank 0 is the master, the others serve it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.backend.limits import Limits
from relion_mpi.backend.select import volumes_that_fit
from relion_mpi.core.errors import InputError
from relion_mpi.core.progress import Progress
from relion_mpi.dataset.quarantine import Quarantine
from relion_mpi.fourier.correlation import fourier_shell_correlation
from relion_mpi.fourier.half_ball import n_kept
from relion_mpi.fourier.shells import padded_size
from relion_mpi.io.mrc import write_map
from relion_mpi.mstep.maximise import symmetrised
from relion_mpi.mstep.reconstruct import reconstruct as made_of
from relion_mpi.parallel import abort, roll_call
from relion_mpi.parallel.crews import led
from relion_mpi.parallel.threads import set_threads, threads_per_rank
from relion_mpi.reconstruct.gpu_room import check_room
from relion_mpi.reconstruct.start import make_start
from relion_mpi.reconstruct.worker import BeginSums, ReconstructWorker
from relion_mpi.refine.hidden import ExpectationTasks
from relion_mpi.refine.worker import LANES

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from relion_mpi.backend.gpu.binding import Room
    from relion_mpi.parallel.comm import World
    from relion_mpi.parallel.crew import Crew
    from relion_mpi.reconstruct.options import ReconstructOptions
    from relion_mpi.reconstruct.start import Start
    from relion_mpi.refine.messages import BatchAnswer

log = logging.getLogger(__name__)

GIB = 2.0**30
LIMITS = Limits(score_bytes=2**28, slice_bytes=2**28, tile_bytes=2**26)
"""Of a GPU's temporary arrays: there is one hypothesis a particle."""
THRESHOLD = 0.143


def reconstruct(options: ReconstructOptions, ranks: World) -> None:
    """Make maps from particles at their poses; collective over all ranks.

    Parameters
    ----------
    options
        Checked options; the same on all ranks.
    ranks
        The job.

    Raises
    ------
    AgreedStop
        Something given cannot be used; one rank has said so.
    """
    rooms: list[Room] = []
    if options.gpu is not None:
        from relion_mpi.backend.gpu import binding

        rooms = binding.rooms(ranks, binding.bind_rank(options.gpu, ranks))

    def begin() -> tuple[Start, int]:
        start = make_start(options)
        room_bytes = check_room(start, rooms, LIMITS)
        _make_folder(options.o)
        return start, room_bytes

    begun = abort.agreed(ranks.comm, begin, here=ranks.rank == 0)
    set_threads(threads_per_rank(options.j or None, ranks))

    def lead(crew: Crew) -> None:
        assert begun is not None
        start, room_bytes = begun
        began = time.perf_counter()
        _write_maps(start, _summed(start, crew, room_bytes))
        crew.close()
        log.info("Finished in %.1f s: %s", time.perf_counter() - began, options.o)

    led(ranks, ReconstructWorker(), LANES["cpu" if options.gpu is None else "gpu"], lead)
    roll_call.tell(ranks, None)


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--o {path}: its folder cannot be made ({error.strerror}); choose another"
        ) from error


def _summed(start: Start, crew: Crew, room_bytes: int) -> list[NDArray[np.float64]]:
    """Have all batches back-projected; return the sums of each half-set (n_kept, 3)."""
    options, plan, particles = start.options, start.plan, start.particles
    size = padded_size(plan.r_max, plan.padding)
    log.info(
        "%d of %d particles; sums of %.2f GiB a worker", plan.n_particles, particles.n_particles,
        plan.n_half * 24 * size * size * (size // 2 + 1) / GIB,
    )  # fmt: skip
    backend = "cpu" if options.gpu is None else "gpu"
    crew.begin(
        BeginSums(
            plan, tuple(particles.stack_headers), backend, options.precision, LIMITS,
            options.deterministic, room_bytes,
        ), {},
    )  # fmt: skip
    quarantine = Quarantine(particles, options.o.with_name(f"{options.o.stem}_quarantine.star"))
    with Progress(plan.n_particles, "Back-projecting") as progress:

        def take(place: int, answer: BatchAnswer[None]) -> None:
            rows = start.batches[place].particles
            quarantine.take(rows, answer.flags)
            progress.update(rows.size)

        crew.run(ExpectationTasks(particles, start.batches), take)
    quarantine.write()
    sums = crew.reduce([(n_kept(size), 3)] * plan.n_half)
    for one in sums:
        one *= plan.variance  # a power of two: nothing is rounded
    return sums


def _write_maps(start: Start, sums: list[NDArray[np.float64]]) -> None:
    """Make the maps one after the other, and the joined one of the sum of both halves."""
    options, plan = start.options, start.plan
    halves = []
    if len(sums) > 1:
        for number, one in enumerate(sums, 1):
            halves.append(_map(start, one))
            name = options.o.with_name(f"{options.o.stem}_half{number}{options.o.suffix}")
            write_map(name, halves[-1], plan.pixel_size_angst)
            log.info("%s: %d particles", name, int((start.particles.half == number).sum()))
        sums[0] += sums.pop()
        _say_resolution(halves, plan.pixel_size_angst)
    write_map(options.o, _map(start, sums.pop()), plan.pixel_size_angst)


def _map(start: Start, volume: NDArray[np.float64]) -> NDArray[np.float64]:
    options, plan, operators = start.options, start.plan, start.group.operators
    backend = volumes_that_fit(
        "cpu" if options.gpu is None else "gpu", plan.box_size, plan.r_max, plan.padding,
        skip_gridding=options.skip_gridding, n_operators=len(operators),
        deterministic=options.deterministic,
    )  # fmt: skip
    geometry = plan.box_size, plan.r_max, plan.padding
    sums = symmetrised(volume, operators, *geometry, backend)
    made = made_of(
        sums, None, skip_gridding=options.skip_gridding, gridding_iterations=options.iter
    )
    del sums
    backend.release()
    return made


def _say_resolution(halves: list[NDArray[np.float64]], pixel_size_angst: float) -> None:
    """Log where the FSC of both half-maps, without a mask, falls below the threshold."""
    fsc = fourier_shell_correlation(halves[0], halves[1])
    below = np.flatnonzero(fsc < THRESHOLD)
    last = int(below[0]) - 1 if below.size else fsc.size - 1
    box_angst = halves[0].shape[0] * pixel_size_angst
    log.info(
        "The FSC of the half-maps, without a mask, is %.3f or more up to %.2f A", THRESHOLD,
        box_angst / max(last, 1),
    )  # fmt: skip
