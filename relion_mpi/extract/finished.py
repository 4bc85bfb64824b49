"""Which micrographs an earlier job has done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.extract.particles import IMAGE
from relion_mpi.io.mrc import read_header
from relion_mpi.io.star import read_star

if TYPE_CHECKING:
    from pathlib import Path

BLOCK = "images"
"""Table of the particles of one micrograph."""


def finished_rows(table: Path, stack: Path, side: int) -> pl.DataFrame | None:
    """Read the particles of a micrograph that is done.

    Parameters
    ----------
    table, stack
        Its files; the table is written last.
    side
        Of the images that are wanted, pixels.

    Returns
    -------
    pl.DataFrame or None
        None if there is something left to do.

    Raises
    ------
    InputError
        The images that are there have another side.
    """
    if not table.is_file() or not stack.is_file():
        return None
    try:
        frame, header = read_star(table).get(BLOCK), read_header(stack)
    except InputError:
        return None
    if not isinstance(frame, pl.DataFrame) or IMAGE not in frame.columns:
        return None
    if frame.height != header.nz:
        return None
    if (header.nx, header.ny) != (side, side):
        raise InputError(
            f"--only_do_unfinished: {stack} holds images of {header.nx} x {header.ny} pixels, "
            f"expected {side} x {side} as asked for; choose another --part_dir, or leave "
            "--only_do_unfinished out to extract all again"
        )
    return frame
