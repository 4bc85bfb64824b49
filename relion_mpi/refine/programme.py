"""What is auto-refine's own and what is classification's in the one loop of a refinement."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from relion_mpi.mstep.running_sums import RunningSums
from relion_mpi.refine.class2d_options import Class2DOptions
from relion_mpi.refine.class3d_options import Class3DOptions
from relion_mpi.refine.class_schedule import ClassSchedule, subset_size
from relion_mpi.refine.class_stage import class_stage
from relion_mpi.refine.maximisation import class_maximisation, maximisation, plane_maximisation
from relion_mpi.refine.mini_batches import MiniBatches
from relion_mpi.refine.options import RefineOptions
from relion_mpi.refine.planning import Stage
from relion_mpi.sampling.orientations import nominal_step_deg

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from relion_mpi.dataset.batches import Batch
    from relion_mpi.model.state import Model
    from relion_mpi.model.statistics import Statistics
    from relion_mpi.mstep.maximise import Maximised
    from relion_mpi.refine.class_options import ClassOptions
    from relion_mpi.refine.common_options import CommonOptions
    from relion_mpi.refine.maximisation import Masks
    from relion_mpi.refine.schedule import BaseSchedule

log = logging.getLogger(__name__)

COARSE_STEPS = 3.0
"""Fine angular steps over the expected accuracy that are worth a warning."""

LEAST = 2.0
"""Particles of a mini-batch from which a class can begin anew."""


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

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what is kept between iterations, for a state file."""

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `arrays` returned in the job that is gone on with."""


class NothingKept:
    """A programme that keeps nothing between iterations."""

    __slots__ = ()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return nothing."""
        return {}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over nothing."""


@dataclass(frozen=True, slots=True)
class AutoRefine(NothingKept):
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
class Classification3D(NothingKept):
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
        """Decide what is special about an iteration; parameters as in `Programme`."""
        return class_stage(self.options, iteration)

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
        self._warn_of_coarse_angles(model, stage)
        class_maximisation(
            volumes, statistics, model, self.options, self.operators, self.masks, stage
        )

    def _warn_of_coarse_angles(self, model: Model, stage: Stage) -> None:
        """Warn where like classes would rather fill the angular grid than show what differs."""
        options, accuracy_deg = self.options, model.accuracy.best_rotation_deg
        step_deg = float(nominal_step_deg(options.healpix_order)) / 2**options.oversampling
        grid_matters = options.K > 1 and not (stage.skip_align or options.from_nothing)
        if grid_matters and step_deg > COARSE_STEPS * accuracy_deg:
            say_once(
                f"angles are searched in steps of {step_deg:.3g} degrees, more than three times "
                "the accuracy that is expected of them: classes that differ little may become one "
                "structure in two orientations; for small differences refine all particles "
                "together (refine3d), then classify with the poses found by --skip_align "
                "--no-firstiter_cc"
            )

    def say_unfinished(self) -> None:
        """Say nothing: all iterations are done."""


@dataclass(frozen=True, slots=True)
class Classification2D(NothingKept):
    """One set, K class averages, fixed grids, a fixed number of iterations.

    Attributes
    ----------
    options : of the run
    masks : images, of the solvent; there is no other
    """

    options: Class2DOptions
    masks: Masks

    def stage(self, iteration: int, schedule: BaseSchedule, *, resumed: bool) -> Stage:
        """Decide what is special about an iteration; parameters as in `Programme`."""
        return class_stage(self.options, iteration)

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


class MiniBatchClassification:
    """A classification that takes a mini-batch of the particles in an iteration.

    Parameters
    ----------
    options
        Of the run.
    whole
        The classification that takes all particles: each iteration is one of its own, of other
        particles and sums.
    n_particles
        Of the run.
    """

    def __init__(
        self, options: ClassOptions, whole: Classification3D | Classification2D, n_particles: int
    ) -> None:
        self._options, self._whole = options, whole
        self._mini = MiniBatches.of(options, n_particles)
        self._sums = RunningSums(options.pad, planar=options.is_planar)
        self._iteration, self._forgets = 0, True

    def stage(self, iteration: int, schedule: BaseSchedule, *, resumed: bool) -> Stage:
        """Decide what is special about an iteration; parameters as in `Programme`."""
        options, self._iteration = self._options, iteration
        assert isinstance(schedule, ClassSchedule)
        limits = options.strict_highres_exp, self._mini.limit_angst(iteration)
        schedule.highres_limit_angst = max(limits)
        is_last = iteration >= options.last_iteration
        stage = self._whole.stage(iteration, schedule, resumed=resumed)
        before = self._whole.stage(iteration - 1, schedule, resumed=resumed)
        # Sums of cross-correlation say nothing of noise or, where all were one, of classes.
        self._forgets = iteration == 1 or before.is_cc
        return replace(stage, reported=is_last or iteration % options.grad_write_iter == 0)

    def left_out(self, iteration: int, batches: Sequence[Batch]) -> NDArray[np.bool_]:
        """Leave out all batches but the mini-batch's."""
        return ~self._mini.chosen(iteration, batches, self._options.random_seed)

    def maximise(
        self, volumes: list[Any], statistics: list[Statistics], model: Model, stage: Stage
    ) -> None:
        """Do the M-step of the running sums; parameters as in `Programme`."""
        self._sums.add(
            volumes.pop(), statistics[0], model.current_size // 2,
            1.0 if self._forgets else self._mini.replaced(self._iteration),
        )  # fmt: skip
        if self._mini.progress(self._iteration) < 1:
            self._revive(model)
        rows, running = self._sums.copies()
        self._whole.maximise([rows], [running], model, stage)
        if self._options.from_nothing and self._iteration <= self._mini.first:
            np.maximum(model.halves[0].maps, 0.0, out=model.halves[0].maps)

    def _revive(self, model: Model) -> None:
        """Let classes that have lost their particles share those of the largest ones.

        Source
        ------
        RELION 5's --class_inactivity_threshold, which copies the donor instead.
        """
        threshold, maps = self._options.class_inactivity_threshold, model.halves[0].maps
        weight, fresh = self._sums.class_weight(), self._sums.fresh_weight()
        share = weight / weight.sum()
        idle = np.flatnonzero(share < threshold / share.size)
        # A donor keeps at least the mean share, and gives something worth an average.
        able = (share * (1 - fresh / np.maximum(weight, 1e-9)) > 1 / share.size) & (fresh >= LEAST)
        donors = np.flatnonzero(able)
        donors = donors[np.argsort(-share[donors], kind="stable")]
        pairs = list(zip(idle, donors, strict=False))
        if pairs:
            model.halves[0].maps = maps = maps.copy()  # the former ones may be in a record
        for mine, donor in pairs:
            self._sums.part(int(donor), int(mine))
            maps[mine] = maps[donor]

    def say_unfinished(self) -> None:
        """Say nothing: all iterations are done."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the running sums."""
        return self._sums.arrays()

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over the running sums."""
        self._sums.restore(arrays)


@cache
def say_once(line: str) -> None:
    """Warn of something, once in a run."""
    log.warning("%s", line)


def programme_of(
    options: CommonOptions, operators: NDArray[np.float64], masks: Masks, n_particles: int
) -> Programme:
    """Make the programme that options are of.

    Parameters
    ----------
    options
        Of the run.
    operators, masks
        See `AutoRefine`.
    n_particles
        Of the run.
    """
    if isinstance(options, RefineOptions):
        return AutoRefine(options, operators, masks)
    whole: Classification2D | Classification3D
    if isinstance(options, Class2DOptions):
        whole = Classification2D(options, masks)
    else:
        assert isinstance(options, Class3DOptions)
        whole = Classification3D(options, operators, masks)
    return MiniBatchClassification(options, whole, n_particles) if options.grad else whole
