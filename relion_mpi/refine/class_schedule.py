"""The schedule of a classification: fixed grids and a fixed number of iterations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.refine.schedule import BaseSchedule
from relion_mpi.sampling.orientations import in_plane_angles

if TYPE_CHECKING:
    from relion_mpi.model.state import Accuracy

ROTATED_PER_PIXEL_PLANAR = 1.5
"""Rotated distance at the particle's edge per pixel of the coarse image (2D references)."""
COARSER = 1.5
"""Angular step of an initial model over the one that its resolution asks for: models are rough, and
each finer grid takes eight times as long."""
NO_ORDER = 99
"""HEALPix order from which searches become local: none."""
SUBSETS = ((5, 1500, 0.0), (10, 4500, 0.0), (15, 4500, 0.3))
"""Last iteration, particles a class and least share of all of them, of `--fast_subsets`."""


@dataclass(slots=True)
class ClassSchedule(BaseSchedule):
    """State of a classification's schedule.

    Attributes
    ----------
    highres_limit_angst : no data beyond this resolution are used; not positive for no limit
    """

    highres_limit_angst: float = -1.0

    def current_size(
        self, box_size: int, box_angst: float, resolution: float, ave_pmax: float
    ) -> int:
        """Choose the image size of an iteration; parameters as in the base class."""
        # Not super() without arguments: a dataclass with slots is another class than this one.
        wanted = BaseSchedule.current_size(self, box_size, box_angst, resolution, ave_pmax)
        if self.highres_limit_angst <= 0:
            return wanted
        return min(wanted, 2 * int(box_angst / self.highres_limit_angst + 0.5))


@dataclass(slots=True)
class InitialSchedule(ClassSchedule):
    """State of the schedule of an initial model: grids become finer with the resolution."""

    def refine_sampling(
        self, accuracy: Accuracy, resolution: float, particle_diameter_angst: float
    ) -> bool:
        """Refine the grid as soon as the resolution needs it; parameters as in the base class."""
        order = self.healpix_order
        needed_deg = COARSER * 360 / math.ceil(math.pi * particle_diameter_angst * resolution)
        while self.fine_step_deg > needed_deg:
            self.healpix_order += 1
        return self.healpix_order > order


@dataclass(slots=True)
class PlanarSchedule(ClassSchedule):
    """State of the schedule of a classification with 2D references.

    Attributes
    ----------
    psi_step_deg : wanted coarse step in the plane
    """

    psi_step_deg: float = 12.0

    @property
    def coarse_step_deg(self) -> float:
        """Angular step of the first pass: a divisor of 360."""
        return 360.0 / len(in_plane_angles(self.psi_step_deg))

    @property
    def rotated_per_pixel(self) -> float:
        """Rotated distance at the particle's edge per pixel of the coarse image."""
        return ROTATED_PER_PIXEL_PLANAR


def subset_size(iteration: int, n_particles: int, n_class: int) -> int:
    """Return how many particles `--fast_subsets` uses in an iteration.

    Parameters
    ----------
    iteration
        Counted from 1.
    n_particles, n_class
        Of the run.

    Source
    ------
    RELION MlOptimiser::updateSubsetSize.
    """
    for last, each, share in SUBSETS:
        if iteration <= last:
            return min(max(each * n_class, int(np.ceil(share * n_particles))), n_particles)
    return n_particles
