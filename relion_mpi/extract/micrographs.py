"""The micrographs of a job: names, optics, CTFs, and what their files hold."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.dataset.columns import Table
from relion_mpi.dataset.legacy import to_optics_groups
from relion_mpi.dataset.optics_groups import OpticsGroups, read_optics_groups
from relion_mpi.io.mrc import MrcHeader, read_header
from relion_mpi.io.star import read_star

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NAME = "rlnMicrographName"
GROUP = "rlnOpticsGroup"
PIXEL_SIZE = "rlnMicrographPixelSize"
IMAGE_PIXEL_SIZE = "rlnImagePixelSize"
_ORIGINAL = "rlnMicrographOriginalPixelSize"
# Opening files on a network file system is latency, not work.
_N_THREADS = 16


@dataclass(frozen=True, slots=True)
class Micrographs:
    """Rows of a micrographs STAR file.

    Attributes
    ----------
    table : rows, as in the file
    names : (n,) micrographs, as in the file
    optics : groups; their pixel size is that of the micrographs
    group : int64 (n,) row of `optics` of each micrograph
    """

    table: Table
    names: list[str]
    optics: OpticsGroups
    group: NDArray[np.int64]


def read_micrographs(path: Path, set_angpix: float) -> Micrographs:
    """Read a micrographs STAR file of RELION 3.1 or later, or of 3.0.

    Parameters
    ----------
    path
        With a table of micrographs.
    set_angpix
        Pixel size to take instead of the file's, Angstrom, if above 0.

    Returns
    -------
    Micrographs

    Raises
    ------
    InputError
        The file cannot be used: no micrographs, one given twice, no pixel size, unknown groups.
    """
    loops = {k: block for k, block in read_star(path).items() if isinstance(block, pl.DataFrame)}
    name = next((name for name, one in loops.items() if NAME in one.columns), None)
    if name is None:
        raise InputError(
            f"{path}: found no table with {NAME}, expected data_micrographs; give the STAR file of "
            "the micrographs as --i, for example CtfFind/job003/micrographs_ctf.star"
        )
    frame = loops[name]
    table = Table(path, name, frame, np.arange(1, frame.height + 1))
    _refuse_repeated(table)
    if "optics" in loops:
        optics = _with_pixel_size(path, loops["optics"], set_angpix)
    else:
        if set_angpix > 0:
            frame = frame.with_columns(pl.lit(set_angpix).alias("rlnPixelSize"))
            frame = frame.drop("rlnMagnification", "rlnDetectorPixelSize", strict=False)
        optics, frame = to_optics_groups(Table(path, name, frame, table.row_numbers))
        optics = optics.with_columns(pl.col(IMAGE_PIXEL_SIZE).alias(_ORIGINAL))
        table = Table(path, name, frame, table.row_numbers)
    groups = read_optics_groups(Table(path, "optics", optics, np.arange(1, optics.height + 1)))
    numbers = table.integers(GROUP, 1)
    rows = groups.indices(numbers)
    if (rows < 0).any():
        row = table.first(rows < 0)
        raise InputError(
            f"{table.where(row)}: {GROUP} is {numbers[row]}, expected one of "
            f"{groups.number.tolist()} as in data_optics; correct either table"
        )
    return Micrographs(table, frame[NAME].cast(pl.String).to_list(), groups, rows)


def read_headers(micrographs: Micrographs, rows: Sequence[int]) -> list[MrcHeader]:
    """Read the headers of some micrographs.

    Parameters
    ----------
    micrographs
        Names are relative to the folder the program was started in.
    rows
        Which.

    Returns
    -------
    list of MrcHeader
        In the order of `rows`.

    Raises
    ------
    InputError
        A file is missing, truncated, of a kind that is not read, or a stack.
    """

    def read(row: int) -> MrcHeader | InputError:
        try:
            return read_header(Path(micrographs.names[row]))
        except InputError as error:
            return error

    headers: list[MrcHeader] = []
    with ThreadPoolExecutor(_N_THREADS) as pool:
        for row, header in zip(rows, pool.map(read, rows), strict=True):
            if isinstance(header, InputError):
                raise InputError(f"{micrographs.table.where(row)}: {header}") from header
            if header.nz != 1:
                raise InputError(
                    f"{micrographs.table.where(row)}: {header.path} holds {header.nz} sections, "
                    "expected 1, a micrograph; name the sum of the movie's frames"
                )
            headers.append(header)
    return headers


def _with_pixel_size(path: Path, optics: pl.DataFrame, set_angpix: float) -> pl.DataFrame:
    """Add the pixel size under the name that `read_optics_groups` knows."""
    if set_angpix > 0:
        return optics.with_columns(pl.lit(set_angpix).alias(IMAGE_PIXEL_SIZE))
    if PIXEL_SIZE not in optics.columns:
        raise InputError(
            f"{path}, table 'optics': found no column {PIXEL_SIZE}, expected the pixel size of the "
            "micrographs; add it, or give --set_angpix"
        )
    return optics.with_columns(pl.col(PIXEL_SIZE).alias(IMAGE_PIXEL_SIZE))


def _refuse_repeated(table: Table) -> None:
    if table.frame.height == 0:
        raise InputError(f"{table.path}, table '{table.name}': found no row, expected micrographs")
    repeated = ~table.frame[NAME].is_first_distinct().to_numpy()
    if repeated.any():
        row = table.first(repeated)
        raise InputError(
            f"{table.where(row)}: {table.frame[NAME][row]} occurs a second time, expected each "
            "micrograph once; remove the row"
        )
