"""First class averages of a classification without references."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, overload

import numpy as np

from relion_mpi.estep.random_averages import random_plan, random_poses
from relion_mpi.fourier.masks import lowpass
from relion_mpi.mstep.planes import average_planes
from relion_mpi.refine.hidden import ExpectationTasks
from relion_mpi.refine.messages import ExpectationTask, StartAverages
from relion_mpi.refine.planning import Stage, make_plan, orientation_grid
from relion_mpi.refine.reduction import sum_shapes, unpacked_sums

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from relion_mpi.dataset.quarantine import Quarantine
    from relion_mpi.estep.plan import BatchResult
    from relion_mpi.parallel.crew import Crew
    from relion_mpi.refine.messages import BatchAnswer
    from relion_mpi.refine.start import Start

SHARE = 0.07
"""Shell of the first averages over the box where no low-pass is given."""
MIN_SIZE = 12


class RandomTasks(ExpectationTasks):
    """Tasks of which each particle is turned by its random angle."""

    random_seed = 0

    @overload
    def __getitem__(self, index: int) -> ExpectationTask: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ExpectationTask]: ...
    def __getitem__(self, index: int | slice) -> ExpectationTask | Sequence[ExpectationTask]:
        found = super().__getitem__(index)
        if not isinstance(found, ExpectationTask):
            return found  # made one by one, and so turned already
        return replace(found, batch=random_poses(found.batch, self.random_seed))


def first_size(box_size: int, pixel_size_angst: float, ini_high: float) -> int:
    """Choose the image size of the pass.

    Parameters
    ----------
    box_size, pixel_size_angst
        Of the model.
    ini_high
        Low-pass, Angstrom; not positive for none.

    Returns
    -------
    int
        Even, from `MIN_SIZE` to the box.

    Source
    ------
    RELION calculateSumOfPowerSpectraAndAverageImage: the shell of --ini_high taken for a diameter,
    or else the length of 0.07 of the box.
    """
    box_angst = box_size * pixel_size_angst
    wanted = box_angst / ini_high if ini_high > 0 else box_angst / max(round(SHARE * box_size), 1)
    return int(min(max(2 * round(wanted / 2), MIN_SIZE), box_size))


def first_averages(
    start: Start, crew: Crew, quarantine: Quarantine
) -> NDArray[np.float64]:
    """Average all particles, turned at random, in random classes.

    Parameters
    ----------
    start
        Its model knows the noise; nothing of it is changed.
    crew
        Does the work.
    quarantine
        Takes what is found to be unusable.

    Returns
    -------
    float64 (n_class, box, box)
    """
    options, particles, n_optics = start.options, start.particles, start.particles.optics.n_groups
    size = first_size(start.model.box_size, start.model.pixel_size_angst, options.ini_high)
    model = replace(start.model, current_size=size)
    grid = orientation_grid(start.schedule, start.group)
    plan = random_plan(
        make_plan(0, model, start.schedule, grid, particles.optics, start.images, Stage())
    )
    crew.begin(StartAverages(plan), {})
    batches = start.batches
    tasks = RandomTasks(particles, batches, quarantine.flags)
    tasks.random_seed = options.random_seed

    def take(place: int, answer: BatchAnswer[BatchResult]) -> None:
        quarantine.take(batches[place].particles, answer.flags)

    crew.run(tasks, take)
    quarantine.write()
    sums = crew.reduce(sum_shapes(model, n_optics, grid.n_dir))
    _, volumes = unpacked_sums(sums, model, n_optics, grid.n_dir)
    maps = average_planes(
        volumes[0], model.box_size, plan.r_max, plan.padding, skip_gridding=options.skip_gridding
    )
    if options.ini_high > 0:
        pixel = model.pixel_size_angst
        maps = np.stack([lowpass(one, pixel, options.ini_high) for one in maps])
    return maps
