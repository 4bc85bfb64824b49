"""A STAR file with one table to work on and, mostly, optics groups."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.dataset.columns import Table
from relion_mpi.dataset.legacy import to_optics_groups
from relion_mpi.io.star import read_star, write_star

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from relion_mpi.io.star import Block

log = logging.getLogger(__name__)

OPTICS, GROUP, GROUP_NAME = "optics", "rlnOpticsGroup", "rlnOpticsGroupName"
IMAGE, MICROGRAPH, PIXEL_SIZE = "rlnImageName", "rlnMicrographName", "rlnImagePixelSize"
_WELL_KNOWN = ("particles", "micrographs", "movies", "images")


@dataclass(frozen=True, slots=True)
class StarTable:
    """What was read, or is to be written.

    Attributes
    ----------
    path : file that it came from
    blocks : all tables
    name : of the one to work on
    """

    path: Path
    blocks: Mapping[str, Block]
    name: str

    @property
    def rows(self) -> pl.DataFrame:
        """Rows to work on."""
        block = self.blocks[self.name]
        assert isinstance(block, pl.DataFrame)
        return block

    @property
    def optics(self) -> pl.DataFrame | None:
        """Optics groups, None without."""
        block = self.blocks.get(OPTICS)
        return block if isinstance(block, pl.DataFrame) else None

    def checked(self) -> Table:
        """Return the rows with what tells where a wrong value stands."""
        return Table(self.path, self.name, self.rows, np.arange(1, self.rows.height + 1))

    def with_rows(self, rows: pl.DataFrame) -> StarTable:
        """Return the same file with other rows."""
        return replace(self, blocks={**self.blocks, self.name: rows})

    def column(self, label: str, flag: str) -> pl.Series:
        """Return a column, with or without an underscore before its label.

        Raises
        ------
        InputError
            There is none.
        """
        plain = label.removeprefix("_")
        if plain not in self.rows.columns:
            raise InputError(
                f"{flag} {label}: found no such column in {self.path}, table '{self.name}', "
                f"expected one of {', '.join(self.rows.columns)}"
            )
        return self.rows[plain]

    def numbers(self, label: str, flag: str) -> NDArray[np.float64]:
        """Return a column as float64 (n_rows,); see `column`."""
        return self.checked().numbers(self.column(label, flag).name, np.nan)

    def of_optics(self, label: str) -> NDArray[np.float64]:
        """Return what the optics groups say of each row.

        Parameters
        ----------
        label
            Column of the optics table.

        Returns
        -------
        float64 (n_rows,)

        Raises
        ------
        InputError
            There are no optics groups, no such column, or a row is of a group that does not exist.
        """
        optics = self.optics
        if optics is None or not {GROUP, label} <= set(optics.columns):
            raise InputError(
                f"{self.path}: found no {label} in data_optics, expected that of each optics "
                "group; add it"
            )
        rows = self.checked()
        found = pl.DataFrame({GROUP: rows.integers(GROUP, 1)}).join(
            optics.select(pl.col(GROUP).cast(pl.Int64), pl.col(label).cast(pl.Float64).alias("is")),
            on=GROUP, how="left", maintain_order="left",
        )["is"]  # fmt: skip
        if found.null_count():
            row = rows.first(found.is_null().to_numpy())
            raise InputError(
                f"{rows.where(row)}: {GROUP} is {self.rows[GROUP][row]}, expected a number of "
                "data_optics; correct either table"
            )
        return np.asarray(found.to_numpy(), np.float64)


def read_table(path: Path, name: str | None = None, *, ignore_optics: bool = False) -> StarTable:
    """Read a STAR file and find the table to work on.

    Parameters
    ----------
    path
        File of any RELION; particles of 3.0 and before get optics groups.
    name
        Table, without data_; None for that of particles or micrographs, or else the first.
    ignore_optics
        Leave the file as it is.

    Returns
    -------
    StarTable

    Raises
    ------
    InputError
        The file cannot be read or has no such table.
    """
    blocks: dict[str, Any] = dict(read_star(path))
    tables = [key for key, block in blocks.items() if isinstance(block, pl.DataFrame)]
    chosen = name.removeprefix("data_") if name is not None else None
    if chosen is None:
        wanted = [key for key in _WELL_KNOWN if key in tables]
        wanted += [key for key in tables if key != OPTICS]
        chosen = next(iter(wanted), None)
    if chosen is None or chosen not in tables:
        raise InputError(
            f"{path}: found the table(s) {', '.join(f'data_{key}' for key in tables) or 'none'}, "
            f"expected {'one with rows' if chosen is None else f'data_{chosen}'}; choose one with "
            "--i_tablename"
        )
    table = StarTable(path, blocks, chosen)
    if ignore_optics or OPTICS in blocks or IMAGE not in table.rows.columns:
        return table
    optics, rows = to_optics_groups(table.checked())
    log.info("%s is of RELION 3.0 or before: %d optics groups were made", path, optics.height)
    return StarTable(path, {OPTICS: optics, "particles": rows}, "particles")


def write_table(path: Path, table: StarTable) -> None:
    """Write all tables of a file.

    Parameters
    ----------
    path
        File to replace; its folder is made.
    table
        What to write.

    Raises
    ------
    InputError
        It would replace the file that was read, or cannot be written.
    """
    if path.resolve() == table.path.resolve():
        raise InputError(f"--o {path}: found the file that is read, expected another name")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_star(path, table.blocks)
    except OSError as error:
        raise InputError(
            f"{path}: could not be written ({error.strerror or error}), expected a folder with "
            "enough space that may be written to; free space or choose another --o"
        ) from error
    log.info("%s: %d rows", path, table.rows.height)
