"""What the E-step of an iteration is to do, from model, schedule and options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.estep.plan import HalfPlan, Plan
from relion_mpi.refine.class_schedule import PlanarSchedule
from relion_mpi.sampling.in_plane import make_in_plane_grid
from relion_mpi.sampling.orientations import make_orientation_grid
from relion_mpi.sampling.translations import make_translation_grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.dataset.optics_groups import OpticsGroups
    from relion_mpi.estep.plan import ImageOptions
    from relion_mpi.geometry.symmetry import PointGroup
    from relion_mpi.model.state import HalfModel, Model
    from relion_mpi.refine.schedule import BaseSchedule
    from relion_mpi.sampling.orientations import OrientationGrid


@dataclass(frozen=True, slots=True)
class Stage:
    """What is special about an iteration.

    Attributes
    ----------
    is_cc : hypotheses are scored by cross-correlation
    last : the half-sets are joined, to Nyquist
    one_class : all particles are compared with the first class alone
    seeded : each particle takes part in one class only, drawn at random
    skip_align : poses stay, and classes alone are found
    reported : files are written, and the expected accuracies found before
    """

    is_cc: bool = False
    last: bool = False
    one_class: bool = False
    seeded: bool = False
    skip_align: bool = False
    reported: bool = True


def orientation_grid(schedule: BaseSchedule, group: PointGroup) -> OrientationGrid:
    """Make the orientations of an iteration.

    Parameters
    ----------
    schedule
        Order and perturbation of the grid.
    group
        Point group; in-plane grids have none.
    """
    if isinstance(schedule, PlanarSchedule):
        return make_in_plane_grid(
            schedule.psi_step_deg,
            oversampling=schedule.oversampling,
            perturbation=schedule.perturbation,
        )
    return make_orientation_grid(
        schedule.healpix_order,
        group,
        oversampling=schedule.oversampling,
        perturbation=schedule.perturbation,
    )


def make_plan(
    iteration: int,
    model: Model,
    schedule: BaseSchedule,
    orientations: OrientationGrid,
    optics: OpticsGroups,
    images: ImageOptions,
    stage: Stage,
) -> Plan:
    """Put together what workers need.

    Parameters
    ----------
    iteration
        Number.
    model, schedule
        Before the iteration.
    orientations
        Of `orientation_grid`.
    optics
        Optics groups.
    images
        How images are treated.
    stage
        What is special about the iteration.
    """
    halves = tuple(
        HalfPlan(
            h.sigma2_noise, h.scale, h.avg_norm, _directions(h, stage), h.sigma2_offset_angst2,
            h.data_vs_prior, int(h.group_particles.sum()),
        )
        for h in model.halves
    )  # fmt: skip
    coarse = schedule.coarse_size(
        model.box_size, model.box_angst, model.current_size, images.particle_diameter_angst
    )
    translations = make_translation_grid(
        schedule.offset_range_angst,
        schedule.offset_step_angst,
        oversampling=schedule.oversampling,
        perturbation=schedule.perturbation,
    )
    return Plan(
        iteration, model.box_size, model.pixel_size_angst, model.padding, model.current_size,
        coarse, "cc" if stage.is_cc else "gauss", orientations, translations,
        schedule.local_sigma_deg, optics, halves, images,
        seeded=stage.seeded, skip_align=stage.skip_align,
    )  # fmt: skip


def _directions(half: HalfModel, stage: Stage) -> NDArray[np.float64]:
    """Return the prior on directions; nothing for all classes but the first in its iteration."""
    if not stage.one_class:
        return half.pdf_direction
    first = np.zeros_like(half.pdf_direction)
    first[0] = half.pdf_direction.sum(axis=0)
    return first
