"""What a post-processing and a local resolution left behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.io.cube import read_cube
from relion_mpi.io.star import read_star
from relion_mpi.postprocess import tables
from relion_mpi.postprocess.guinier import NO_AMPLITUDE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

LOCAL_RESOLUTION = "_locres.mrc"

FSC_CURVES = {
    "corrected": tables.CORRECTED, "unmasked": tables.UNMASKED, "masked": tables.MASKED,
    "masked, random phases": tables.RANDOMISED,
}  # fmt: skip
GUINIER_CURVES = {
    "original": "rlnLogAmplitudesOriginal", "divided by the MTF": "rlnLogAmplitudesMTFCorrected",
    "FSC-weighted": "rlnLogAmplitudesWeighted", "sharpened": "rlnLogAmplitudesSharpened",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sharpened:
    """A post-processing.

    Attributes
    ----------
    path : its table
    resolution_angst, bfactor : of the map
    random_from_angst : where phases were randomised from, or None
    frequency : float64 (n_shell,), 1/Angstrom
    fsc : name -> float64 (n_shell,), those that are there
    squared_frequency : float64 (n_guinier,), 1/Angstrom^2
    guinier : name -> float64 (n_guinier,), NaN where there is no amplitude
    fit : slope and intercept, or None
    map : of the sharpened map, under the mask where there is one; None if missing
    mask : as the table names it, or None
    """

    path: Path
    resolution_angst: float
    bfactor: float
    random_from_angst: float | None
    frequency: NDArray[np.float64]
    fsc: Mapping[str, NDArray[np.float64]]
    squared_frequency: NDArray[np.float64]
    guinier: Mapping[str, NDArray[np.float64]]
    fit: tuple[float, float] | None
    map: Path | None
    mask: str | None


def find_sharpened(folder: Path) -> Sharpened | None:
    """Look for a post-processing in a folder.

    Parameters
    ----------
    folder
        Of a job.

    Returns
    -------
    Sharpened or None
        The newest one; None if there is none.
    """
    stars = (path for path in folder.glob("*.star") if path.with_suffix(".mrc").is_file())
    for path in sorted(stars, key=lambda path: -path.stat().st_mtime):
        try:
            found = read_sharpened(path)
        except InputError:
            continue
        return found
    return None


def read_sharpened(path: Path) -> Sharpened:
    """Read the table of a post-processing.

    Parameters
    ----------
    path
        `postprocess.star` of relion-mpi or RELION, or its folder.

    Returns
    -------
    Sharpened

    Raises
    ------
    InputError
        It cannot be read, or is another file.
    """
    if path.is_dir():
        found = find_sharpened(path)
        if found is None:
            raise InputError(
                f"{path}: found no table of a post-processing beside its map, expected the folder "
                "of a post-processing; give its .star file"
            )
        return found
    blocks = read_star(path)
    general, fsc, guinier = (blocks.get(name) for name in ("general", "fsc", "guinier"))
    if not (isinstance(general, dict) and isinstance(fsc, pl.DataFrame)):
        raise InputError(
            f"{path}: found no blocks 'general' and 'fsc', expected the table of a "
            "post-processing; give postprocess.star"
        )
    squared, curves = _guinier(guinier if isinstance(guinier, pl.DataFrame) else None)
    masked, plain = (path.with_name(path.stem + end) for end in ("_masked.mrc", ".mrc"))
    return Sharpened(
        path=path,
        resolution_angst=float(general.get("rlnFinalResolution", "nan")),
        bfactor=float(general.get("rlnBfactorUsedForSharpening", "0")),
        random_from_angst=_number(general, "rlnRandomiseFrom"),
        frequency=fsc["rlnResolution"].cast(pl.Float64).to_numpy(),
        fsc={
            name: fsc[label].cast(pl.Float64).to_numpy()
            for name, label in FSC_CURVES.items() if label in fsc.columns
        },
        squared_frequency=squared,
        guinier=curves,
        fit=_fit(general),
        map=masked if masked.is_file() else plain if plain.is_file() else None,
        mask=general.get("rlnMaskName"),
    )  # fmt: skip


def read_local_resolution(folders: tuple[Path, ...]) -> tuple[str, NDArray[np.float32]] | None:
    """Read a map of local resolution.

    Parameters
    ----------
    folders
        Where to look for one, in this order.

    Returns
    -------
    name : of the file
    values : float32 (n,), Angstrom, of the voxels that have one
        None instead of both if there is no map.
    """
    for folder in folders:
        for path in sorted(folder.glob(f"*{LOCAL_RESOLUTION}")):
            try:
                volume, _ = read_cube(path)
            except InputError:
                continue
            values = volume[volume > 0]
            if values.size:
                return path.name, values
    return None


def _guinier(
    table: pl.DataFrame | None,
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    if table is None:
        return np.zeros(0), {}
    curves = {}
    for name, label in GUINIER_CURVES.items():
        if label in table.columns:
            logs = table[label].cast(pl.Float64).to_numpy()
            curves[name] = np.where(logs > NO_AMPLITUDE, logs, np.nan)
    return table["rlnResolutionSquared"].cast(pl.Float64).to_numpy(), curves


def _fit(general: Mapping[str, str]) -> tuple[float, float] | None:
    slope = _number(general, "rlnFittedSlopeGuinierPlot")
    intercept = _number(general, "rlnFittedInterceptGuinierPlot")
    return None if slope is None or intercept is None else (slope, intercept)


def _number(general: Mapping[str, str], label: str) -> float | None:
    return float(general[label]) if label in general else None
