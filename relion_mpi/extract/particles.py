"""All particles of a job as one table, in the order of the micrographs."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.dataset.columns import Table
from relion_mpi.extract.coordinates import (
    X,
    Y,
    coordinate_files,
    expected_file,
    read_coordinates,
)
from relion_mpi.extract.micrographs import GROUP, NAME
from relion_mpi.extract.names import stack_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from relion_mpi.extract.micrographs import Micrographs
    from relion_mpi.extract.options import ExtractOptions

log = logging.getLogger(__name__)

IMAGE = "rlnImageName"
FOM = "rlnAutopickFigureOfMerit"
NO_THRESHOLD = -999.0
DEFOCUS = "rlnDefocusU"
_QUALITY = ("rlnCtfMaxResolution", "rlnCtfFigureOfMerit")
_CTF = {
    DEFOCUS: 0.0, "rlnDefocusV": 0.0, "rlnDefocusAngle": 0.0, "rlnCtfBfactor": 0.0,
    "rlnCtfScalefactor": 1.0, "rlnPhaseShift": 0.0,
}  # fmt: skip
_OWN_TILT = ("rlnBeamTiltX", "rlnBeamTiltY")
_N_THREADS = 16


@dataclass(frozen=True, slots=True)
class Particles:
    """Particles to extract, those of one micrograph together.

    Attributes
    ----------
    frame : their columns
    micrograph : int64 (n,) row of each one's micrograph, ascending
    source : by row of the micrograph, where its coordinates are from, for messages
    source_row : int64 (n,) row or line there
    """

    frame: pl.DataFrame
    micrograph: NDArray[np.int64]
    source: dict[int, str]
    source_row: NDArray[np.int64]

    def where(self, row: int) -> str:
        """Return 'file, row n' for a particle."""
        return f"{self.source[int(self.micrograph[row])]}, row {self.source_row[row]}"


def picked_particles(options: ExtractOptions, micrographs: Micrographs) -> Particles:
    """Read the coordinates of all micrographs.

    Parameters
    ----------
    options
        Where they are.
    micrographs
        Of the job.

    Returns
    -------
    Particles
        Columns of the coordinate files; one that some files lack is 0 or None there.

    Raises
    ------
    InputError
        A file cannot be used, or there is no particle.
    """
    files = coordinate_files(options, micrographs.names)
    present = [row for row, path in enumerate(files) if path is not None]
    tables: dict[int, Table] = {}
    with ThreadPoolExecutor(_N_THREADS) as pool:
        paths = [path for path in files if path is not None]
        for row, table in zip(present, pool.map(read_coordinates, paths), strict=True):
            if table.frame.height:
                tables[row] = table
    _say_missing(micrographs, files)
    if not tables:
        raise InputError(_none_found(options, micrographs, len(present)))
    if options.minimum_pick_fom > NO_THRESHOLD:
        tables = _good_enough(tables, options.minimum_pick_fom)
    frame = joined([table.frame for table in tables.values()])
    counts = [table.frame.height for table in tables.values()]
    bias = [(X, options.extract_bias_x), (Y, options.extract_bias_y)]
    return Particles(
        frame.with_columns(pl.col(label).cast(pl.Float64) + value for label, value in bias),
        np.repeat(np.array(list(tables), np.int64), counts),
        {row: str(table.path) for row, table in tables.items()},
        np.concatenate([table.row_numbers for table in tables.values()]).astype(np.int64),
    )


def with_columns_of_micrographs(
    particles: Particles, micrographs: Micrographs, part_dir: Path, *, with_ctf: bool
) -> Particles:
    """Add names of images and what particles inherit from their micrographs.

    Parameters
    ----------
    particles
        As picked or read from a refinement.
    micrographs
        Of the job.
    part_dir
        Folder of the stacks.
    with_ctf
        CTF parameters and quality of the micrographs too.

    Returns
    -------
    Particles
        New columns behind the others, in RELION's order; those that are there are replaced.
    """
    rows, first = particles.micrograph, np.zeros(particles.micrograph.size, np.int64)
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    first[starts] = starts
    within = np.arange(rows.size) - np.maximum.accumulate(first)
    distinct, code = np.unique(rows, return_inverse=True)
    stacks = pl.Series([str(stack_of(part_dir, micrographs.names[row])) for row in distinct])
    added = [
        pl.DataFrame({"index": within + 1, "stack": stacks[code]}).select(
            pl.format("{}@{}", pl.col("index").cast(pl.String).str.zfill(6), "stack").alias(IMAGE)
        )[IMAGE],
        pl.Series(NAME, micrographs.names)[rows],
    ]
    of_micrographs = micrographs.table.frame
    if GROUP not in particles.frame.columns:
        added.append(pl.Series(GROUP, micrographs.optics.number[micrographs.group[rows]]))
    if with_ctf:
        wanted = [label for label in _QUALITY if label in of_micrographs.columns]
        added += [of_micrographs[label][rows] for label in wanted]
        if DEFOCUS in of_micrographs.columns:
            added += [
                pl.Series(label, micrographs.table.numbers(label, default)[rows])
                for label, default in _CTF.items()
            ]
        wanted = [label for label in _OWN_TILT if label in of_micrographs.columns]
        added += [of_micrographs[label][rows] for label in wanted]
    return Particles(
        particles.frame.with_columns(added), rows, particles.source, particles.source_row
    )


def joined(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Put tables below each other; a value that is missing is 0 or None, as in RELION.

    Parameters
    ----------
    frames
        Tables of any columns.

    Returns
    -------
    pl.DataFrame
        All columns, in the order in which they occur.
    """
    frame = pl.concat(frames, how="diagonal_relaxed")
    return frame.with_columns(
        pl.col(pl.String).fill_null("None"), pl.selectors.numeric().fill_null(0)
    )


def whole_coordinates(particles: Particles) -> NDArray[np.int64]:
    """Return the pixel of the micrograph that each window is centred on.

    Parameters
    ----------
    particles
        With coordinates.

    Returns
    -------
    int64 (n, 2)
        (x, y), cut down towards 0 as in RELION.
    """
    return np.asarray(np.trunc(particles.frame.select(X, Y).to_numpy()), np.int64)


def _good_enough(tables: dict[int, Table], threshold: float) -> dict[int, Table]:
    """Keep the picks whose figure of merit is at least so high."""
    kept: dict[int, Table] = {}
    for row, table in tables.items():
        if FOM not in table.frame.columns:
            raise InputError(
                f"{table.path}: found no column {FOM}, expected it for --minimum_pick_fom; leave "
                "the option out"
            )
        good = np.flatnonzero(table.numbers(FOM, 0.0) >= threshold)
        if good.size:
            kept[row] = Table(
                table.path, table.name, table.frame[good], table.row_numbers[good]
            )
    n = [sum(table.frame.height for table in group.values()) for group in (kept, tables)]
    if not kept:
        raise InputError(
            f"--minimum_pick_fom {threshold:g}: found no pick with so high a {FOM} among {n[1]}, "
            "expected some; lower it"
        )
    log.info("%d of %d picks have a figure of merit of %g or more", *n, threshold)
    return kept


def _say_missing(micrographs: Micrographs, files: list[Path | None]) -> None:
    missing = [
        name for name, path in zip(micrographs.names, files, strict=True) if path is None
    ]
    if missing and len(missing) < len(files):
        log.warning(
            "%d of %d micrographs have no coordinate file, the first is %s: no particles of them",
            len(missing), len(files), missing[0],
        )  # fmt: skip


def _none_found(options: ExtractOptions, micrographs: Micrographs, n_files: int) -> str:
    if n_files:
        return (
            f"{options.i}: found no particle in the {n_files} coordinate files of its micrographs, "
            "expected some; choose other files"
        )
    if options.coord_list is not None:
        return (
            f"--coord_list {options.coord_list}: found none of the {len(micrographs.names)} "
            f"micrographs of {options.i}, expected their coordinate files; choose another list"
        )
    return (
        f"{options.i}: found no coordinate file, for example not "
        f"{expected_file(options, micrographs.names[0])}; correct --coord_dir and --coord_suffix"
    )
