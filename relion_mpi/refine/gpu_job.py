"""From options and particles to what decides a GPU's memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relion_mpi.geometry.symmetry import point_group
from relion_mpi.refine.class2d_options import Class2DOptions
from relion_mpi.refine.class_schedule import PlanarSchedule
from relion_mpi.refine.gpu_memory import GpuJob
from relion_mpi.refine.schedule import BaseSchedule
from relion_mpi.refine.worker import LANES
from relion_mpi.sampling.orientations import in_plane_angles
from relion_mpi.sampling.translations import make_translation_grid

if TYPE_CHECKING:
    from relion_mpi.refine.common_options import CommonOptions


def gpu_job(
    options: CommonOptions,
    box_size: int,
    pixel_size_angst: float,
    *,
    n_class: int,
    batch_size: int,
    n_optics: int = 1,
) -> GpuJob:
    """Describe a refinement for `relion_mpi.refine.gpu_memory.gpu_need`.

    Parameters
    ----------
    options
        With the particle diameter filled in.
    box_size, pixel_size_angst
        Of the model.
    n_class
        Classes.
    batch_size
        That is wanted.
    n_optics
        Optics groups.

    Returns
    -------
    GpuJob
        With every order that is searched exhaustively.
    """
    n_operators = point_group(options.sym).n_ops
    shifts = make_translation_grid(
        options.offset_range, options.offset_step, oversampling=options.oversampling
    )
    pixels = box_size, pixel_size_angst
    searches = tuple(
        (_n_orient(options, order, n_operators), _coarse_size(options, order, *pixels))
        for order in options.exhaustive_orders
    )
    return GpuJob(
        box_size, options.pad, n_class, options.precision, batch_size, LANES["gpu"],
        n_shift=shifts.n_shift,
        n_child_shift=shifts.n_fine_each,
        searches=searches,
        n_optics=n_optics,
        noise_fill=not options.zero_mask,
        n_operators=n_operators,
        skip_gridding=options.skip_gridding,
        deterministic=options.deterministic,
        n_half=options.n_half,
        planar=options.is_planar,
    )  # fmt: skip


def _n_orient(options: CommonOptions, order: int, n_operators: int) -> int:
    if isinstance(options, Class2DOptions):
        return len(in_plane_angles(options.psi_step))
    return n_orientations(order, n_operators)


def n_orientations(order: int, n_operators: int = 1) -> int:
    """Count the coarse orientations of a HEALPix order, without those that symmetry repeats.

    Parameters
    ----------
    order
        Of the directions.
    n_operators
        Of the point group.
    """
    n_dir, n_psi = 12 << 2 * order, 6 << order
    return -(-n_dir // n_operators) * n_psi


def _coarse_size(
    options: CommonOptions, order: int, box_size: int, pixel_size_angst: float
) -> int:
    common: dict[str, Any] = {
        "healpix_order": order,
        "oversampling": options.oversampling,
        "offset_range_angst": options.offset_range * pixel_size_angst,
        "offset_step_angst": options.offset_step * pixel_size_angst,
        "perturbation_factor": options.perturb,
        "local_order": order + 1,
    }
    schedule = BaseSchedule(**common)
    if isinstance(options, Class2DOptions):
        schedule = PlanarSchedule(**common, psi_step_deg=options.psi_step)
    box_angst = box_size * pixel_size_angst
    diameter = options.particle_diameter
    if diameter <= 0:
        diameter = box_angst
    return int(schedule.coarse_size(box_size, box_angst, box_size, diameter))
