"""Files of a local resolution, named as RELION names them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from relion_mpi.io.mrc import write_map
from relion_mpi.io.star import write_star
from relion_mpi.postprocess import tables
from relion_mpi.postprocess.locres.plots import write_histogram, write_slices
from relion_mpi.postprocess.outputs import beside, told

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.postprocess.locres.program import LocalResolution
    from relion_mpi.postprocess.options import PostprocessOptions

log = logging.getLogger(__name__)

_INSIDE = 0.5
"""Masks count from here on."""


def write_local(
    options: PostprocessOptions, found: LocalResolution, mask: NDArray[np.float32] | None
) -> None:
    """Write maps, curves and pictures.

    Parameters
    ----------
    options
        What was asked for.
    found
        What to write.
    mask : float32 (n, n, n) or None
        Of the voxels to tell about.

    Raises
    ------
    InputError
        A file cannot be written.
    """
    root, layout = options.o, found.layout
    counted = found.resolution > 0
    if mask is not None:
        counted &= mask > _INSIDE
    values = found.resolution[counted]
    pixel_size = layout.pixel_size_angst
    where = "within the mask" if mask is not None else "of all windows"
    with told(root):
        write_map(beside(root, "_locres.mrc"), found.resolution, pixel_size)
        write_map(beside(root, "_locres_filtered.mrc"), found.filtered, pixel_size)
        write_star(beside(root, "_locres_fscs.star"), _blocks(found))
        if values.size:
            title = f"{root.name}: local resolution {where}"
            write_histogram(beside(root, "_locres_histogram.png"), values, title)
            write_slices(
                beside(root, "_locres_slices.png"), found.filtered, found.resolution, counted, title
            )
    if values.size:
        low, median, high = np.percentile(values, (5, 50, 95))
        log.info(
            "  + local resolution %s: median %.3f A, 5 %% better than %.3f A, 5 %% worse than "
            "%.3f A", where, median, low, high,
        )  # fmt: skip
    else:
        log.warning(
            "no voxel of %s above %g is reached by a window: there is no histogram",
            options.mask, _INSIDE,
        )  # fmt: skip
    log.info("  + Local-resolution map:          %s", beside(root, "_locres.mrc"))
    log.info("  + Filtered map:                  %s", beside(root, "_locres_filtered.mrc"))


def _blocks(found: LocalResolution) -> dict[str, pl.DataFrame | dict[str, str]]:
    """Lay out the windows, then the curves of each under RELION's name for its block."""
    layout = found.layout
    voxels = layout.centres[:, ::-1] + layout.box_size // 2
    blocks: dict[str, pl.DataFrame | dict[str, str]] = {
        "windows": pl.DataFrame(
            {
                "rlnCoordinateX": voxels[:, 0],
                "rlnCoordinateY": voxels[:, 1],
                "rlnCoordinateZ": voxels[:, 2],
                "rlnFinalResolution": [one.resolution_angst for one in found.curves],
            }
        )
    }
    for centre, one in zip(layout.centres, found.curves, strict=True):
        curves = {
            tables.CORRECTED: one.corrected,
            tables.UNMASKED: found.unmasked,
            tables.MASKED: one.masked,
            tables.RANDOMISED: one.randomised,
        }
        blocks[block_name(centre)] = tables.fsc_table(
            curves, layout.box_size, layout.pixel_size_angst
        )
    return blocks


def block_name(centre: NDArray[np.int64]) -> str:
    """Name the block of a window as RELION does: x, y and z from the map's centre.

    Parameters
    ----------
    centre : int64 (3,)
        z, y, x.

    Returns
    -------
    str
    """
    z, y, x = (f"{c:05d}" for c in centre.tolist())
    return f"fsc_{x}_{y}_{z}"
