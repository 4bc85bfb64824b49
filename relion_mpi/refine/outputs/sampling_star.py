"""The sampling file: grids of an iteration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from relion_mpi.refine.class2d_options import Class2DOptions
from relion_mpi.refine.outputs.listing import listing
from relion_mpi.sampling.orientations import NO_TILT_LIMIT_DEG, nominal_step_deg

if TYPE_CHECKING:
    from relion_mpi.io.star import Block
    from relion_mpi.refine.record import IterationRecord

_NOT_HELICAL = -1.0


def sampling_blocks(record: IterationRecord) -> dict[str, Block]:
    """Describe the grids of an iteration.

    Parameters
    ----------
    record
        Of the iteration.

    Returns
    -------
    dict
        Blocks of `_sampling.star`; the directions are in the order of the model's
        rlnOrientationDistribution; 2D references have no table of them.

    Notes
    -----
    Source: RELION 3.1 healpix_sampling.cpp, HealpixSampling::write.
    """
    grid, schedule, options = record.orientations, record.schedule, record.options
    pixel_size = record.model.pixel_size_angst
    in_space = {
        "HealpixOrder": grid.order,
        "SymmetryGroup": grid.group.name,
        "TiltAngleLimit": NO_TILT_LIMIT_DEG,
    }
    order = {"HealpixOrderOriginal": options.healpix_order}
    psi_step = nominal_step_deg(options.healpix_order)
    if isinstance(options, Class2DOptions):
        in_space, order, psi_step = {}, {}, options.psi_step
    general = listing(
        {
            "Is3DSampling": not grid.planar,
            "Is3DTranslationalSampling": False,
            **in_space,
            "PsiStep": grid.psi_step_deg,
            "OffsetRange": schedule.offset_range_angst,
            "OffsetStep": schedule.offset_step_angst,
            "HelicalOffsetStep": _NOT_HELICAL,
            "SamplingPerturbInstance": schedule.perturbation,
            "SamplingPerturbFactor": schedule.perturbation_factor,
            **order,
            "PsiStepOriginal": psi_step,
            "OffsetRangeOriginal": options.offset_range * pixel_size,
            "OffsetStepOriginal": options.offset_step * pixel_size,
        }
    )
    if grid.planar:
        return {"sampling_general": general}
    directions = pl.DataFrame({"rlnAngleRot": grid.rot_deg, "rlnAngleTilt": grid.tilt_deg})
    return {"sampling_general": general, "sampling_directions": directions}
