"""Particle tables of two runs, matched row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.geometry.euler import euler_to_matrix
from relion_mpi.io.star import read_star

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")


@dataclass(frozen=True, slots=True)
class PoseTable:
    """What a particle table says about poses; None where it has no such column.

    Attributes
    ----------
    path : Path
    image : Series of str (n,), index@stack
    rotation : float64 (n, 3, 3)
    origin_angst : float64 (n, 2) (x, y)
    class_number : int64 (n,) from 1
    max_value_prob, norm_correction, n_significant : float64 (n,) or None
    """

    path: Path
    image: pl.Series
    rotation: NDArray[np.float64]
    origin_angst: NDArray[np.float64]
    class_number: NDArray[np.int64]
    max_value_prob: NDArray[np.float64] | None = None
    norm_correction: NDArray[np.float64] | None = None
    n_significant: NDArray[np.float64] | None = None

    @property
    def n(self) -> int:
        """Number of particles."""
        return len(self.image)


def read_pose_table(path: Path) -> PoseTable:
    """Read the poses of a particle table, of RELION 3.1 and later or earlier.

    Parameters
    ----------
    path
        STAR file, for example run_data.star or truth.star.

    Returns
    -------
    PoseTable

    Raises
    ------
    InputError
        No particle table, or columns that are needed are missing.
    """
    blocks = read_star(path)
    loops = [b for b in blocks.values() if isinstance(b, pl.DataFrame)]
    table = next((b for b in loops if "rlnImageName" in b.columns), None)
    if table is None or table.height == 0:
        raise InputError(f"{path}: found no rows with rlnImageName; expected a particle table")
    missing = [label for label in ANGLES if label not in table.columns]
    if missing:
        raise InputError(
            f"{path}: the particles have no {', '.join(missing)}; expected poses: give the table "
            "of a refinement or the true one"
        )

    def column(label: str) -> NDArray[np.float64] | None:
        return table[label].to_numpy().astype(np.float64) if label in table.columns else None

    angles = [column(label) for label in ANGLES]
    classes = column("rlnClassNumber")
    if classes is None:
        classes = np.ones(table.height)
    return PoseTable(
        path=path,
        image=table["rlnImageName"],
        rotation=euler_to_matrix(*(np.asarray(a) for a in angles)),
        origin_angst=_origins(path, blocks, table),
        class_number=classes.astype(np.int64),
        max_value_prob=column("rlnMaxValueProbDistribution"),
        norm_correction=column("rlnNormCorrection"),
        n_significant=column("rlnNrOfSignificantSamples"),
    )


def matched_rows(a: PoseTable, b: PoseTable) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair the rows that show the same image.

    Parameters
    ----------
    a, b
        Tables in any order, with other particles too.

    Returns
    -------
    rows_a, rows_b : int64 (n_common,)
        In the order of `a`. Images are told apart by their index and their stack's name without
        folders, or with folders where that is not enough.

    Raises
    ------
    InputError
        An image occurs twice, or none is in both tables.
    """
    for folders in (False, True):
        keys = [_keys(table, folders) for table in (a, b)]
        if all(key.n_unique() == len(key) for key in keys):
            break
    else:
        table, key = (a, keys[0]) if keys[0].n_unique() < len(keys[0]) else (b, keys[1])
        twice = key.filter(key.is_duplicated())[0]
        raise InputError(f"{table.path}: image {twice} occurs more than once; keep one of its rows")
    left, right = (
        pl.DataFrame({"key": key, name: np.arange(len(key))})
        for key, name in zip(keys, ("a", "b"), strict=True)
    )
    both = left.join(right, on="key", how="inner").sort("a")
    if both.height == 0:
        raise InputError(
            f"{a.path} and {b.path} have no image in common (the first are {a.image[0]} and "
            f"{b.image[0]}); give two tables of the same particles"
        )
    return both["a"].to_numpy().astype(np.int64), both["b"].to_numpy().astype(np.int64)


def _keys(table: PoseTable, folders: bool) -> pl.Series:
    """Return index@stack in one spelling: 000001@a/b.mrcs becomes 1@b.mrcs."""
    image = pl.col("image")
    stack = image.str.split("@").list.last()
    if not folders:
        stack = stack.str.split("/").list.last()
    index = image.str.extract(r"^0*(\d+)@").fill_null("")
    frame = table.image.alias("image").to_frame()
    return frame.select(pl.concat_str(index, pl.lit("@"), stack))[:, 0]


def _origins(
    path: Path, blocks: dict[str, pl.DataFrame | dict[str, str]], table: pl.DataFrame
) -> NDArray[np.float64]:
    if "rlnOriginXAngst" in table.columns:
        return table.select("rlnOriginXAngst", "rlnOriginYAngst").to_numpy().astype(np.float64)
    if "rlnOriginX" not in table.columns:
        return np.zeros((table.height, 2))
    return table.select("rlnOriginX", "rlnOriginY").to_numpy() * _pixel_size(path, blocks, table)


def _pixel_size(
    path: Path, blocks: dict[str, pl.DataFrame | dict[str, str]], table: pl.DataFrame
) -> float:
    """Find the pixel size that old tables count their origins in."""
    optics = blocks.get("optics")
    if isinstance(optics, pl.DataFrame) and "rlnImagePixelSize" in optics.columns:
        return float(optics["rlnImagePixelSize"][0])
    if {"rlnDetectorPixelSize", "rlnMagnification"} <= set(table.columns):
        return 1e4 * float(table["rlnDetectorPixelSize"][0]) / float(table["rlnMagnification"][0])
    raise InputError(
        f"{path}: origins are in pixels (rlnOriginX) and no pixel size was found; expected "
        "rlnImagePixelSize in data_optics, or rlnDetectorPixelSize and rlnMagnification"
    )
