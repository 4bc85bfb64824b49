"""The files of a picking job: coordinates, their list, and maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from relion_mpi.io.atomic import replacing
from relion_mpi.io.mrc import write_map
from relion_mpi.io.star import write_star
from relion_mpi.picking.merit import merit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from relion_mpi.backend.picking import PickingGrid, ScoreMaps
    from relion_mpi.picking.micrographs import Micrograph
    from relion_mpi.picking.options import AutopickOptions
    from relion_mpi.picking.worker import Picks

COORDINATE_DIGITS, MERIT_DIGITS = 2, 4
"""Decimals that are written: a hundredth of a pixel is far below what picking can tell."""


@dataclass(frozen=True, slots=True)
class FoundMaps:
    """Scores of a micrograph, the one that stands for a figure of merit of 1, and the angles."""

    maps: ScoreMaps
    expected: float
    n_psi: int


def write_coordinates(path: Path, picks: Picks) -> None:
    """Write the coordinate file of a micrograph, as RELION's; folders are made.

    Parameters
    ----------
    path
        STAR file to replace.
    picks
        Particles.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pl.DataFrame({
        "rlnCoordinateX": np.round(picks.x, COORDINATE_DIGITS),
        "rlnCoordinateY": np.round(picks.y, COORDINATE_DIGITS),
        "rlnAutopickFigureOfMerit": np.round(picks.merit, MERIT_DIGITS),
        "rlnClassNumber": picks.class_number,
        "rlnAnglePsi": np.round(picks.psi_deg, MERIT_DIGITS),
    })  # fmt: skip
    write_star(path, {"": table})


def write_lists(
    options: AutopickOptions, given: str, pairs: Sequence[tuple[Micrograph, Path]]
) -> None:
    """Write which coordinate file belongs to which micrograph, as RELION 4 and as RELION 3 do.

    Parameters
    ----------
    options
        Folder and name.
    given
        The list of micrographs, of which RELION 3 keeps the name.
    pairs
        Micrographs and their coordinate files.
    """
    table = pl.DataFrame(
        {
            "rlnMicrographName": [micrograph.name for micrograph, _ in pairs],
            "rlnMicrographCoordinates": [str(path) for _, path in pairs],
        },
        schema={"rlnMicrographName": pl.String, "rlnMicrographCoordinates": pl.String},
    )
    write_star(options.odir / f"{options.pickname}.star", {"coordinate_files": table})
    with replacing(options.odir / f"coords_suffix_{options.pickname}.star") as temporary:
        temporary.write_text(f"{given}\n", encoding="utf-8")


def write_maps(
    micrograph: Micrograph, options: AutopickOptions, grid: PickingGrid, found: FoundMaps
) -> None:
    """Write maps of figure of merit, angle, template, local mean and deviation.

    Parameters
    ----------
    micrograph, options
        Where to.
    grid
        Sizes; the maps have the grid of scores.
    found
        Scores.
    """
    maps, n_psi = found.maps, found.n_psi
    pixel_size = micrograph.pixel_size_angst * grid.padded[1] / grid.work[1]
    which, angle = np.divmod(maps.index, n_psi)
    named = {
        "fom": merit(maps.score, found.expected),
        "psi": angle * (360.0 / n_psi),
        "class": which + 1,
        "avgNoise": options.sign * maps.mean,
        "stddevNoise": maps.deviation,
    }
    for name, values in named.items():
        path = micrograph.output(options.odir, f"_{options.pickname}_{name}.mrc")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_map(path, values.astype(np.float32), pixel_size)
