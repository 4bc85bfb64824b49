"""Schedules: image size, angular and translational sampling, convergence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.sampling.orientations import nominal_step_deg

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.model.state import Accuracy

NEVER = 999.0
NEVER_CLASSES = 9999999
LOCAL_SIGMA_STEPS = 2.0
"""Width of local searches in fine angular steps."""
MAX_OFFSET_STEP_ANGST = 1.5
ROTATED_PER_PIXEL = 1.2
"""Rotated distance at the particle's edge per pixel of the coarse image (3D references)."""


@dataclass(slots=True)
class Changes:
    """How much hidden variables moved in an iteration, averaged over particles.

    Attributes
    ----------
    orientations_deg : mean angle between the particle axes before and after
    offsets_angst : root mean square over x and y
    classes : share of particles that changed class
    """

    orientations_deg: float = NEVER
    offsets_angst: float = NEVER
    classes: float = NEVER_CLASSES


@dataclass(slots=True)
class BaseSchedule:
    """A schedule that never ends or refines its grids; names as in RELION's optimiser.star.

    Attributes
    ----------
    healpix_order, oversampling : of the orientation grid
    offset_range_angst, offset_step_angst : of the coarse translation grid
    perturbation : instance of the random perturbation, perturbation_factor its largest value
    local_order : HEALPix order from which searches are local
    local_sigma_deg : width of local searches or None
    incr_size : shells added beyond the current resolution
    has_high_fsc_at_limit, has_fine_enough, has_converged : flags
    iterations_without_resolution_gain, iterations_without_changes : counters
    changes, smallest : last and smallest changes
    best_resolution : 1/Angstrom
    first_step_deg, first_offset_step_angst : fine steps of the first iteration, the measure of
        what counts as a small change
    """

    healpix_order: int
    oversampling: int
    offset_range_angst: float
    offset_step_angst: float
    perturbation_factor: float
    local_order: int
    incr_size: int = 10
    perturbation: float = 0.0
    local_sigma_deg: float | None = None
    has_high_fsc_at_limit: bool = False
    has_fine_enough: bool = False
    has_converged: bool = False
    iterations_without_resolution_gain: int = 0
    iterations_without_changes: int = 0
    changes: Changes | None = None
    smallest: Changes | None = None
    best_resolution: float = 0.0
    first_step_deg: float = 0.0
    first_offset_step_angst: float = 0.0

    def __post_init__(self) -> None:
        """Note the first steps; start with local searches when the first grid is fine enough."""
        self.first_step_deg = self.first_step_deg or self.fine_step_deg
        self.first_offset_step_angst = self.first_offset_step_angst or self.fine_offset_step_angst
        self.changes = self.changes or Changes()
        self.smallest = self.smallest or Changes()
        if self.healpix_order >= self.local_order and self.local_sigma_deg is None:
            self.local_sigma_deg = LOCAL_SIGMA_STEPS * self.fine_step_deg

    @property
    def coarse_step_deg(self) -> float:
        """Angular step of the first pass."""
        return float(nominal_step_deg(self.healpix_order))

    @property
    def fine_step_deg(self) -> float:
        """Angular step of the second pass."""
        return float(self.coarse_step_deg / 2**self.oversampling)

    @property
    def rotated_per_pixel(self) -> float:
        """Rotated distance at the particle's edge per pixel of the coarse image."""
        return ROTATED_PER_PIXEL

    @property
    def fine_offset_step_angst(self) -> float:
        """Translational step of the second pass."""
        return float(self.offset_step_angst / 2**self.oversampling)

    def current_size(
        self, box_size: int, box_angst: float, resolution: float, ave_pmax: float
    ) -> int:
        """Choose the image size of an iteration.

        Parameters
        ----------
        box_size, box_angst
            Of the model.
        resolution
            Current resolution, 1/Angstrom.
        ave_pmax
            Average Pmax of the last iteration.

        Source
        ------
        RELION updateImageSizeAndResolutionPointers.
        """
        if self.has_converged:
            return box_size
        generous = ave_pmax > 0.1 and self.has_high_fsc_at_limit
        more = int(0.25 * box_size / 2 + 0.5) if generous else self.incr_size
        return min(2 * (int(box_angst * resolution + 0.5) + more), box_size)

    def coarse_size(
        self, box_size: int, box_angst: float, current: int, particle_diameter_angst: float
    ) -> int:
        """Choose the image size of the first pass from the coarse angular step.

        Source
        ------
        RELION updateImageSizeAndResolutionPointers; with this iteration's sampling, where RELION
        uses the sampling before it was refined.
        """
        if self.oversampling == 0:
            return current
        rotated_angst = self.coarse_step_deg / 360 * math.pi * particle_diameter_angst
        coarse_angst = rotated_angst / self.rotated_per_pixel
        return min(2 * math.ceil(box_angst / coarse_angst), current, box_size)

    def check_convergence(self) -> bool:
        """Decide at the start of an iteration whether it is the last one."""
        return self.has_converged

    def refine_sampling(
        self, accuracy: Accuracy, resolution: float, particle_diameter_angst: float
    ) -> bool:
        """Refine the grids where that is due; parameters as in `Schedule.refine_sampling`."""
        return False

    def resolution(self, data_vs_prior: NDArray[np.float64], box_angst: float) -> float:
        """Find the current resolution; parameters as in `resolution_from_ssnr`."""
        return resolution_from_ssnr(data_vs_prior, box_angst, from_top=False)

    def note_changes(self, changes: Changes) -> None:
        """Count iterations without large changes of hidden variables.

        Source
        ------
        RELION updateOverallChanges. Its MPI leader, which decides, never learns of finer grids:
        changes are small against the steps of the first iteration. Measured against the present
        steps instead, two sets took many more iterations and ended no better.
        """
        assert self.smallest is not None
        low = self.smallest
        ratio_angle = changes.orientations_deg / self.first_step_deg
        ratio_offset = changes.offsets_angst / self.first_offset_step_angst
        steady = (
            1.03 * changes.classes >= low.classes
            and (ratio_offset < 0.40 or 1.03 * changes.offsets_angst >= low.offsets_angst)
            and (ratio_angle < 0.40 or 1.03 * changes.orientations_deg >= low.orientations_deg)
        )
        self.iterations_without_changes = self.iterations_without_changes + 1 if steady else 0
        self.changes = changes
        self.smallest = Changes(
            min(low.orientations_deg, changes.orientations_deg),
            min(low.offsets_angst, changes.offsets_angst),
            min(low.classes, int(changes.classes + 0.5)),
        )

    def note_resolution(self, resolution: float, previous: float) -> None:
        """Count iterations without a gain in resolution (1/Angstrom)."""
        gained = resolution > previous + 1e-4
        self.iterations_without_resolution_gain = (
            0 if gained else self.iterations_without_resolution_gain + 1
        )
        self.best_resolution = max(self.best_resolution, resolution)

    def note_fsc(self, fsc: NDArray[np.float64], current_size: int) -> None:
        """Take note of a gold-standard FSC; parameters as in `Schedule.note_fsc`."""


@dataclass(slots=True)
class Schedule(BaseSchedule):
    """State of the auto-refine schedule.

    Attributes
    ----------
    ignore_angles, resolution_angles : as RELION's --auto_ignore_angles and --auto_resol_angles
    """

    ignore_angles: bool = False
    resolution_angles: bool = False

    def check_convergence(self, *, force: bool = False) -> bool:
        """Decide at the start of an iteration whether it is the last one.

        Source
        ------
        RELION checkConvergence.
        """
        settled = self.ignore_angles or self.iterations_without_changes >= 1
        no_gain = self.iterations_without_resolution_gain >= 1
        self.has_converged = force or (self.has_fine_enough and no_gain and settled)
        return self.has_converged

    def refine_sampling(
        self, accuracy: Accuracy, resolution: float, particle_diameter_angst: float
    ) -> bool:
        """Refine the grids once neither resolution nor assignments improve.

        Parameters
        ----------
        accuracy
            Expected accuracies in this iteration.
        resolution
            Current resolution, 1/Angstrom.
        particle_diameter_angst
            Angstrom.

        Returns
        -------
        bool
            True when the angular sampling changed.

        Source
        ------
        RELION updateAngularSampling (auto-refine branch).
        """
        step = self.fine_step_deg
        go_resolution = self.iterations_without_resolution_gain >= 1
        if self.resolution_angles and self.healpix_order + 1 != self.local_order:
            needed = 360 / math.ceil(math.pi * particle_diameter_angst * resolution)
            go_resolution = go_resolution or needed < step
        settled = self.ignore_angles or self.iterations_without_changes >= 1
        if not (go_resolution and settled):
            return False
        self.has_fine_enough = step < 0.75 * accuracy.best_rotation_deg
        if self.has_fine_enough:
            return False
        self._refine_offsets(accuracy.best_translation_angst)
        self.healpix_order += 1
        self.iterations_without_resolution_gain = 0
        self.iterations_without_changes = 0
        self.smallest = Changes()
        if self.healpix_order >= self.local_order:
            self.local_sigma_deg = LOCAL_SIGMA_STEPS * self.fine_step_deg
        return True

    def _refine_offsets(self, accuracy_angst: float) -> None:
        """Choose the translation grid from the accuracy and the last changes."""
        assert self.changes is not None
        step = min(MAX_OFFSET_STEP_ANGST, 0.75 * accuracy_angst) * 2**self.oversampling
        reach = min(1.3 * self.offset_range_angst, 5 * self.changes.offsets_angst)
        reach = max(reach, 1.5 * step)
        if reach > 4 * step:
            reach /= 2
        if reach > 4 * step:
            step = reach / 4
        if step <= self.offset_step_angst:
            self.offset_step_angst, self.offset_range_angst = step, reach

    def resolution(self, data_vs_prior: NDArray[np.float64], box_angst: float) -> float:
        """Find the current resolution; parameters as in `resolution_from_ssnr`."""
        return resolution_from_ssnr(data_vs_prior, box_angst)

    def note_fsc(self, fsc: NDArray[np.float64], current_size: int) -> None:
        """Adjust the growth of the image size to the shape of the FSC.

        Parameters
        ----------
        fsc : float64 (n_shell,)
        current_size
            Image size it was computed with.
        """
        if fsc[current_size // 2 - 1] > 0.2:
            self.has_high_fsc_at_limit = True
        below_half = _first_below(fsc, 0.5)
        below_low = _first_below(fsc, 0.143)
        self.incr_size = max(self.incr_size, below_low - below_half + 5)


def _first_below(curve: NDArray[np.float64], threshold: float) -> int:
    """Return the first shell below a threshold, the last shell if there is none."""
    below = np.flatnonzero(curve[1:] < threshold)
    return int(below[0]) + 1 if below.size else curve.size - 1


def resolution_from_ssnr(
    data_vs_prior: NDArray[np.float64],
    box_angst: float,
    min_shell: int = 5,
    *,
    from_top: bool = True,
) -> float:
    """Find the current resolution in 1/Angstrom: the last shell before the SSNR falls below 1.

    Parameters
    ----------
    data_vs_prior : float64 (n_class, n_shell)
    box_angst
        Side of the box in Angstrom.
    min_shell
        Never less than this (RELION's --minres_map).
    from_top
        Also look from the high end, and pass over a dip of some shells.

    Source
    ------
    RELION updateCurrentResolution (auto-refine looks from the high end, classification does not).
    """
    best = min_shell
    for curve in data_vs_prior:
        inner = curve[1:-1]
        below = np.flatnonzero(inner < 1.0)
        shell = int(below[0]) if below.size else inner.size
        above = np.flatnonzero(inner > 1.0)
        highest = int(above[-1]) + 1 if above.size else 0
        if from_top and highest > shell + 3:
            shell = highest
        best = max(best, shell)
    return best / box_angst
