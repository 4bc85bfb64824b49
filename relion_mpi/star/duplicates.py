"""Particles that are there twice, by a value or by their place on a micrograph."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from scipy.spatial import cKDTree

from relion_mpi.core.progress import Progress
from relion_mpi.star.table import MICROGRAPH, PIXEL_SIZE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.star.table import StarTable

log = logging.getLogger(__name__)

_MICROGRAPH_PIXEL_SIZE = "rlnMicrographPixelSize"


def repeated(column: pl.Series) -> NDArray[np.bool_]:
    """Tell which rows have a value that an earlier row has.

    Parameters
    ----------
    column
        Values.

    Returns
    -------
    bool (n_rows,)
    """
    return np.asarray(~column.is_first_distinct().to_numpy())


def too_near(table: StarTable, distance_angst: float, image_angpix: float) -> NDArray[np.bool_]:
    """Tell which particles have one of a later row of the same micrograph near them.

    Parameters
    ----------
    table
        Particles with coordinates; origins count if they are there.
    distance_angst
        Particles so near or nearer are taken for one, Angstrom.
    image_angpix
        Pixel size of the micrographs, Angstrom; not positive: as the optics groups say.

    Returns
    -------
    bool (n_rows,)

    Raises
    ------
    InputError
        A column is missing or holds what is no number.

    Notes
    -----
    Of particles in a chain, each near the next one, only the last stays. Source:
    relion_star_handler --remove_duplicates, with which tests compare.
    """
    position = _positions_angst(table, image_angpix)
    names = table.column(MICROGRAPH, "--remove_duplicates").cast(pl.String)
    groups = (
        pl.DataFrame({"name": names}).with_row_index("row")
        .group_by("name", maintain_order=True).agg("row")["row"]
    )  # fmt: skip
    near = np.zeros(table.rows.height, np.bool_)
    with Progress(len(groups), "Comparing particles, micrographs") as progress:
        for group in groups:
            rows = group.to_numpy()
            near[rows] = _near_a_later(position[rows], distance_angst)
            progress.update()
    return near


def _near_a_later(position: NDArray[np.float64], distance: float) -> NDArray[np.bool_]:
    near = np.zeros(len(position), np.bool_)
    pairs = cKDTree(position).query_pairs(distance, output_type="ndarray")
    near[pairs.min(axis=1)] = True  # no pair: no row
    return near


def _positions_angst(table: StarTable, image_angpix: float) -> NDArray[np.float64]:
    """Return float64 (n_rows, 2), the centres of particles, x and y, Angstrom."""
    if image_angpix > 0:
        pixel: NDArray[np.float64] | float = image_angpix
    else:
        optics = table.optics
        of_micrograph = optics is not None and _MICROGRAPH_PIXEL_SIZE in optics.columns
        pixel = table.of_optics(_MICROGRAPH_PIXEL_SIZE if of_micrograph else PIXEL_SIZE)
        log.info(
            "pixel size of the micrographs: %s A, from %s",
            " ".join(f"{value:g}" for value in np.unique(pixel)),
            _MICROGRAPH_PIXEL_SIZE if of_micrograph else f"{PIXEL_SIZE}; if particles were "
            "down-sampled, give --image_angpix",
        )  # fmt: skip
    rows = table.checked()
    axes = []
    for axis in "XY":
        coordinate = table.numbers(f"rlnCoordinate{axis}", "--remove_duplicates")
        axes.append(coordinate * pixel - rows.numbers(f"rlnOrigin{axis}Angst", 0.0))
    return np.stack(axes, axis=1)
