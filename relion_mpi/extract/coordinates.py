"""Where particles were picked: STAR files, boxes of EMAN, plain text."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.dataset.columns import Table
from relion_mpi.extract.micrographs import NAME
from relion_mpi.extract.names import beside_or_in
from relion_mpi.extract.options import AS_INPUT
from relion_mpi.io.star import read_star

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relion_mpi.extract.options import ExtractOptions

X, Y = "rlnCoordinateX", "rlnCoordinateY"
FILE = "rlnMicrographCoordinates"
LIST = "coordinate_files"
_BLANKS = re.compile(r"[\s,;]+")


def coordinate_files(options: ExtractOptions, names: Sequence[str]) -> list[Path | None]:
    """Name the coordinate file of each micrograph.

    Parameters
    ----------
    options
        --coord_list, or --coord_dir and --coord_suffix.
    names
        Micrographs.

    Returns
    -------
    list of Path or None
        None where there is no file.

    Raises
    ------
    InputError
        The options do not say where coordinates are, or the list cannot be read.
    """
    if options.coord_list is not None:
        listed = _read_list(options.coord_list)
        return [listed.get(name) for name in names]
    if not options.coord_suffix:
        raise InputError(
            "found none of --coord_suffix, --coord_list and --reextract_data_star, expected one; "
            "say where the particles are"
        )
    files = [expected_file(options, name) for name in names]
    return [path if path.is_file() else None for path in files]


def expected_file(options: ExtractOptions, name: str) -> Path:
    """Return where --coord_dir and --coord_suffix say that a coordinate file is.

    Parameters
    ----------
    options
        What was asked for.
    name
        Of the micrograph.

    Returns
    -------
    Path
    """
    folder = None if options.coord_dir == AS_INPUT else options.coord_dir
    return beside_or_in(folder, name, options.coord_suffix or "")


def read_coordinates(path: Path) -> Table:
    """Read the coordinates of one micrograph.

    Parameters
    ----------
    path
        `.star`: a table with rlnCoordinateX and rlnCoordinateY. `.box`: corner and size of boxes.
        Others: x and y as the first two columns; lines before the first one of numbers are passed
        over.

    Returns
    -------
    Table
        A row a particle, pixels of the micrograph from its first one; other columns of a STAR file
        are kept.

    Raises
    ------
    InputError
        The file cannot be read, or a coordinate is no finite number.

    Source
    ------
    relion_preprocess, by its output: boxes are of whole numbers, of which the
    half size is rounded down. It cuts coordinates of plain text down to whole numbers, too.
    """
    table = _read_table(path) if path.suffix == ".star" else _read_text(path)
    for label in (X, Y):
        table.numbers(label, 0.0, finite=True)
    return table


def _read_list(path: Path) -> dict[str, Path]:
    for block in read_star(path).values():
        if isinstance(block, pl.DataFrame) and {NAME, FILE} <= set(block.columns):
            files = block[FILE].cast(pl.String)
            return dict(zip(block[NAME].cast(pl.String), map(Path, files), strict=True))
    raise InputError(
        f"--coord_list {path}: found no table with {NAME} and {FILE}, expected data_{LIST}; give "
        "the autopick.star or manualpick.star of RELION 4 or later, or use --coord_suffix"
    )


def _read_table(path: Path) -> Table:
    blocks = {k: one for k, one in read_star(path).items() if isinstance(one, pl.DataFrame)}
    name = next((k for k, one in blocks.items() if {X, Y} <= set(one.columns)), None)
    if name is not None:
        frame = blocks[name]
        return Table(path, name, frame, np.arange(1, frame.height + 1))
    if blocks and not any(one.height for one in blocks.values()):
        return Table(path, "", _frame([], []), np.arange(0))
    raise InputError(
        f"{path}: found no table with {X} and {Y}, expected the coordinates of particles; choose "
        "another --coord_suffix"
    )


def _read_text(path: Path) -> Table:
    """Read .box and text."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise InputError(
            f"{path}: the file cannot be read ({error.strerror}); check its permissions"
        ) from error
    wanted = 4 if path.suffix == ".box" else 2
    rows: list[list[float]] = []
    numbers: list[int] = []
    for number, line in enumerate(lines, start=1):
        words = [word for word in _BLANKS.split(line.strip()) if word]
        if not words or words[0][0] in "#%":
            continue
        values = _floats(words[:wanted])
        if len(values) < wanted:
            if not rows and not values:
                continue
            raise InputError(
                f"{path}, line {number}: found '{line.strip()}', expected {wanted} numbers at its "
                "beginning; correct or remove the line"
            )
        rows.append(values)
        numbers.append(number)
    if wanted == 4:
        rows = [[int(x) + int(w) // 2, int(y) + int(h) // 2] for x, y, w, h in rows]
    frame = _frame([row[0] for row in rows], [row[1] for row in rows])
    return Table(path, "coordinates", frame, np.array(numbers, np.int64))


def _floats(words: Sequence[str]) -> list[float]:
    """Convert words up to the first that is no finite number."""
    values: list[float] = []
    for word in words:
        try:
            value = float(word)
        except ValueError:
            break
        if not math.isfinite(value):
            break
        values.append(value)
    return values


def _frame(x: list[float], y: list[float]) -> pl.DataFrame:
    return pl.DataFrame({X: pl.Series(x, dtype=pl.Float64), Y: pl.Series(y, dtype=pl.Float64)})
