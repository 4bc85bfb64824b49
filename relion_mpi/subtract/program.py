"""A subtraction on all ranks: rank 0 hands out particles and writes, the others subtract."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

import numpy as np

from relion_mpi.core.errors import InputError
from relion_mpi.core.progress import Progress
from relion_mpi.fourier.shells import padded_size
from relion_mpi.io.star import write_star
from relion_mpi.parallel import abort
from relion_mpi.parallel.crews import led
from relion_mpi.parallel.threads import set_threads, threads_per_rank
from relion_mpi.refine.batch_size import batch_size_for
from relion_mpi.refine.hidden import particle_batch
from relion_mpi.subtract.output import RATIO, TABLE, Output, ratio_table
from relion_mpi.subtract.revert import revert
from relion_mpi.subtract.start import make_start
from relion_mpi.subtract.worker import BeginSubtraction, SubtractTask, SubtractWorker

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.parallel.comm import World
    from relion_mpi.parallel.crew import Crew
    from relion_mpi.subtract.options import SubtractOptions
    from relion_mpi.subtract.start import Start
    from relion_mpi.subtract.worker import Subtracted

log = logging.getLogger(__name__)

GIB = 2.0**30


def subtract(options: SubtractOptions, ranks: World) -> None:
    """Subtract projections of a part of a map from particles; collective over all ranks.

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
    begun = abort.agreed(ranks.comm, lambda: _begun(options), here=ranks.rank == 0)
    if options.revert is not None:
        return
    set_threads(threads_per_rank(options.j or None, ranks))

    def lead(crew: Crew) -> None:
        assert begun is not None
        start, output = begun
        began = time.perf_counter()
        try:
            _measure(start, crew) if output is None else _subtract(start, output, crew)
        except OSError as error:
            raise _not_written(options, error) from error
        crew.close()
        log.info("Finished in %.1f s", time.perf_counter() - began)

    led(ranks, SubtractWorker(), 1, lead)


def _begun(options: SubtractOptions) -> tuple[Start, Output | None] | None:
    """Read and check what there is to do, and do at once what is not shared out."""
    try:
        if options.revert is not None:
            revert(options)
            return None
        start = make_start(options)
        return start, None if options.ssnr else Output(options, start.particles)
    except OSError as error:
        raise _not_written(options, error) from error


class _Tasks(Sequence[SubtractTask]):
    """Tasks made when they are asked for, so that they never all exist at once."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._pieces: list[tuple[int, NDArray[np.int64]]] = []
        particles = start.particles
        for group in np.unique(particles.optics_group):
            rows = np.flatnonzero(particles.optics_group == group)
            size = batch_size_for(rows.size, int(particles.optics.box_size[group]))
            places = range(0, rows.size, size)
            self._pieces += [(place, rows[place : place + size]) for place in places]

    def __len__(self) -> int:
        return len(self._pieces)

    @overload
    def __getitem__(self, index: int) -> SubtractTask: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[SubtractTask]: ...
    def __getitem__(self, index: int | slice) -> SubtractTask | Sequence[SubtractTask]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        start, (place, rows) = self._start, self._pieces[index]
        return SubtractTask(
            particle_batch(start.particles, rows, 0, index), place, start.number[rows],
            start.factor[rows], start.gain[rows],
        )  # fmt: skip


def _begin(start: Start, crew: Crew) -> _Tasks:
    options, plan = start.options, start.plan
    size = padded_size(plan.r_max, plan.padding)
    log.info(
        "%d particles; transforms of %d map(s), %.2f GiB a worker", start.particles.n_particles,
        len(start.maps), len(start.maps) * 8 * size * size * (size // 2 + 1) / GIB,
    )  # fmt: skip
    message = BeginSubtraction(
        plan, tuple(start.particles.stack_headers), options.precision, start.point_angst,
        max(options.new_box, 0), options.ssnr,
    )  # fmt: skip
    crew.begin(message, {"maps": start.maps})
    return _Tasks(start)


def _subtract(start: Start, output: Output, crew: Crew) -> None:
    """Have all particles done and written."""
    tasks, n = _begin(start, crew), start.particles.n_particles
    with output, Progress(n, "Subtracting") as progress:

        def take(index: int, found: Subtracted) -> None:
            task = tasks[index]
            _check(start, task, found)
            output.put(task, found)
            progress.update(task.batch.n_img)

        crew.run(tasks, take, summed=False)
    log.info("%s: %d particles", start.options.o / TABLE, n)


def _measure(start: Start, crew: Crew) -> None:
    """Have the powers of all particles summed, and write their ratio."""
    tasks = _begin(start, crew)
    # Kept apart, so that the order in which they come does not matter.
    found = np.zeros((len(tasks), 3, start.plan.box_size // 2 + 1))
    with Progress(start.particles.n_particles, "Measuring") as progress:

        def take(index: int, answer: Subtracted) -> None:
            task = tasks[index]
            _check(start, task, answer)
            assert answer.powers is not None
            found[index] = answer.powers
            progress.update(task.batch.n_img)

        crew.run(tasks, take, summed=False)
    start.options.o.mkdir(parents=True, exist_ok=True)
    box_angst = start.plan.box_size * start.plan.pixel_size_angst
    write_star(start.options.o / RATIO, {"": ratio_table(found.sum(axis=0), box_angst)})
    log.info("%s", start.options.o / RATIO)


def _check(start: Start, task: SubtractTask, found: Subtracted) -> None:
    if found.broken.any():
        p, row = start.particles, int(task.batch.particle[np.flatnonzero(found.broken)[0]])
        raise InputError(
            f"{p.path}, row {p.row_number[row]}: found NaN or infinite pixels in "
            f"{p.frame['rlnImageName'][row]}, expected numbers; extract it again or remove the row"
        )


def _not_written(options: SubtractOptions, error: OSError) -> InputError:
    return InputError(
        f"--o {options.o}: could not be written ({error.strerror or error}), expected a folder "
        "with enough space that may be written to; free space or choose another"
    )
