"""What the E-step of an iteration is to do, from model, schedule and options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relion_mpi.estep.plan import HalfPlan, Plan
from relion_mpi.sampling.orientations import make_orientation_grid
from relion_mpi.sampling.translations import make_translation_grid

if TYPE_CHECKING:
    from relion_mpi.dataset.optics_groups import OpticsGroups
    from relion_mpi.estep.plan import ImageOptions
    from relion_mpi.geometry.symmetry import PointGroup
    from relion_mpi.model.state import Model
    from relion_mpi.refine.schedule import Schedule
    from relion_mpi.sampling.orientations import OrientationGrid


def orientation_grid(schedule: Schedule, group: PointGroup) -> OrientationGrid:
    """Make the orientations of an iteration.

    Parameters
    ----------
    schedule
        Order and perturbation of the grid.
    group
        Point group.
    """
    return make_orientation_grid(
        schedule.healpix_order,
        group,
        oversampling=schedule.oversampling,
        perturbation=schedule.perturbation,
    )


def make_plan(
    iteration: int,
    model: Model,
    schedule: Schedule,
    orientations: OrientationGrid,
    optics: OpticsGroups,
    images: ImageOptions,
    *,
    is_cc: bool,
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
    is_cc
        Whether hypotheses are scored by cross-correlation.
    """
    halves = tuple(
        HalfPlan(
            h.sigma2_noise, h.scale, h.avg_norm, h.pdf_direction, h.sigma2_offset_angst2,
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
        coarse, "cc" if is_cc else "gauss", orientations, translations, schedule.local_sigma_deg,
        optics, halves, images,
    )  # fmt: skip
