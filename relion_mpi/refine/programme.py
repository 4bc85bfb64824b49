"""What is auto-refine's own and what is classification's in the one loop of a refinement."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from relion_mpi.refine.class2d_options import Class2DOptions
from relion_mpi.refine.class3d_options import Class3DOptions
from relion_mpi.refine.class_references import is_one_map
from relion_mpi.refine.class_schedule import subset_size
from relion_mpi.refine.maximisation import class_maximisation, maximisation, plane_maximisation
from relion_mpi.refine.options import RefineOptions
from relion_mpi.refine.planning import Stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from relion_mpi.dataset.batches import Batch
    from relion_mpi.model.state import Model
    from relion_mpi.model.statistics import Statistics
    from relion_mpi.mstep.maximise import Maximised
    from relion_mpi.refine.common_options import CommonOptions
    from relion_mpi.refine.maximisation import Masks
    from relion_mpi.refine.schedule import BaseSchedule

log = logging.getLogger(__name__)


class Programme(Protocol):
    """Decides what an iteration is, does its M-step, and knows when the run ends."""

    def stage(self, iteration: int, schedule: BaseSchedule, *, resumed: bool) -> Stage:
        """Decide what is special about an iteration.

        Parameters
        ----------
        iteration
            Counted from 1.
        schedule
            Before it; may be told that it has converged.
        resumed
            Another job began the iteration, and decided.
        """

    def left_out(self, iteration: int, batches: Sequence[Batch]) -> NDArray[np.bool_]:
        """Say which batches an iteration does without, bool (n_batch,)."""

    def maximise(
        self, volumes: list[Any], statistics: list[Statistics], model: Model, stage: Stage
    ) -> Maximised | None:
        """Do the M-step; see `relion_mpi.refine.maximisation`."""

    def say_unfinished(self) -> None:
        """Log what there is to say where the last iteration was not that of `Stage.last`."""


@dataclass(frozen=True, slots=True)
class AutoRefine:
    """Two half-sets, finer grids as it goes on, a last iteration that joins the half-sets.

    Attributes
    ----------
    options : of the run
    operators : float64 (n, 3, 3), the point group
    masks : of the solvent, and of the region whose density is set to its mean
    """

    options: RefineOptions
    operators: NDArray[np.float64]
    masks: Masks

    def stage(self, iteration: int, schedule: BaseSchedule, *, resumed: bool) -> Stage:
        """Decide what is special about an iteration; parameters as in `Programme`."""
        if not resumed:
            schedule.check_convergence()
        if schedule.has_converged:
            log.info("Converged: the last iteration combines the half-sets, to Nyquist.")
        return Stage(
            is_cc=iteration == 1 and self.options.firstiter_cc, last=schedule.has_converged
        )

    def left_out(self, iteration: int, batches: Sequence[Batch]) -> NDArray[np.bool_]:
        """Leave out nothing."""
        return np.zeros(len(batches), np.bool_)

    def maximise(
        self, volumes: list[Any], statistics: list[Statistics], model: Model, stage: Stage
    ) -> Maximised:
        """Do the M-step of two half-sets; parameters as in `Programme`."""
        return maximisation(
            volumes, statistics, model, self.options, self.operators, self.masks, stage
        )

    def say_unfinished(self) -> None:
        """Say that there is no final map."""
        log.warning(
            "not converged after --auto_iter_max %d iterations: there is no final map yet",
            self.options.auto_iter_max,
        )


@dataclass(frozen=True, slots=True)
class Classification3D:
    """One set, K classes, fixed grids, a fixed number of iterations.

    Attributes
    ----------
    options : of the run
    operators : float64 (n, 3, 3), the point group
    masks : of the solvent, and of the region whose density is set to its mean
    """

    options: Class3DOptions
    operators: NDArray[np.float64]
    masks: Masks

    def stage(self, iteration: int, schedule: BaseSchedule, *, resumed: bool) -> Stage:
        """Decide what is special about an iteration; parameters as in `Programme`.

        Classes that begin from one map are parted by a random choice of particles, in the first
        iteration that is not cross-correlation.
        """
        options = self.options
        from_one = options.K > 1 and is_one_map(options)
        is_cc = iteration == 1 and options.firstiter_cc
        return Stage(
            is_cc=is_cc,
            one_class=from_one and is_cc,
            seeded=from_one and iteration == 1 + int(options.firstiter_cc),
            skip_align=options.skip_align,
        )

    def left_out(self, iteration: int, batches: Sequence[Batch]) -> NDArray[np.bool_]:
        """Leave out a random choice of batches while --fast_subsets lasts."""
        out = np.zeros(len(batches), np.bool_)
        if not self.options.fast_subsets:
            return out
        order = np.random.default_rng([self.options.random_seed, 5, iteration]).permutation(
            len(batches)
        )
        sizes = np.array([batches[i].particles.size for i in order])
        before = np.cumsum(sizes) - sizes
        out[order] = before >= subset_size(iteration, int(sizes.sum()), self.options.K)
        return out

    def maximise(
        self, volumes: list[Any], statistics: list[Statistics], model: Model, stage: Stage
    ) -> None:
        """Do the M-step of all classes; parameters as in `Programme`."""
        class_maximisation(
            volumes, statistics, model, self.options, self.operators, self.masks, stage
        )

    def say_unfinished(self) -> None:
        """Say nothing: all iterations are done."""


@dataclass(frozen=True, slots=True)
class Classification2D:
    """One set, K class averages, fixed grids, a fixed number of iterations.

    Attributes
    ----------
    options : of the run
    masks : images, of the solvent; there is no other
    """

    options: Class2DOptions
    masks: Masks

    def stage(self, iteration: int, schedule: BaseSchedule, *, resumed: bool) -> Stage:
        """Decide what is special about an iteration: nothing; parameters as in `Programme`."""
        return Stage(skip_align=self.options.skip_align)

    def left_out(self, iteration: int, batches: Sequence[Batch]) -> NDArray[np.bool_]:
        """Leave out nothing."""
        return np.zeros(len(batches), np.bool_)

    def maximise(
        self, volumes: list[Any], statistics: list[Statistics], model: Model, stage: Stage
    ) -> None:
        """Do the M-step of all classes; parameters as in `Programme`."""
        plane_maximisation(volumes, statistics, model, self.options, self.masks, stage)

    def say_unfinished(self) -> None:
        """Say nothing: all iterations are done."""


def programme_of(
    options: CommonOptions, operators: NDArray[np.float64], masks: Masks
) -> Programme:
    """Make the programme that options are of.

    Parameters
    ----------
    options
        Of the run.
    operators, masks
        See `AutoRefine`.
    """
    if isinstance(options, Class2DOptions):
        return Classification2D(options, masks)
    if isinstance(options, Class3DOptions):
        return Classification3D(options, operators, masks)
    assert isinstance(options, RefineOptions)
    return AutoRefine(options, operators, masks)
