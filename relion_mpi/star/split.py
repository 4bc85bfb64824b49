"""Rows of one file in several."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.core.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from relion_mpi.star.options import StarOptions
    from relion_mpi.star.table import StarTable

log = logging.getLogger(__name__)


def parts_of(table: StarTable, options: StarOptions) -> list[StarTable]:
    """Cut rows into parts.

    Parameters
    ----------
    table
        What to split.
    options
        Number and size of parts, order.

    Returns
    -------
    list of StarTable
        None of them empty.

    Raises
    ------
    InputError
        Neither number nor size is given, or there are fewer rows than files.

    Notes
    -----
    Source: relion_star_handler --split, with which tests compare; random orders differ.
    """
    n_rows = table.rows.height
    size, n_part = options.size_split, options.nr_split
    if size <= 0 and n_part <= 0:
        raise InputError(
            "--split: found neither --nr_split nor --size_split above 0, expected one or both"
        )
    if size <= 0:
        size = max(math.ceil(n_rows / n_part), 1)
    n_needed = math.ceil(n_rows / size)
    if 0 < n_part < n_needed:
        log.warning(
            "%d rows are in none of the %d files of %d; leave out --nr_split to have all",
            n_rows - n_part * size, n_part, size,
        )  # fmt: skip
    elif n_part > n_needed:
        raise InputError(
            f"--nr_split {n_part}: found {n_rows} rows, which fill {n_needed} files of {size}; "
            "expected a smaller number of files"
        )
    n_part = min(n_part, n_needed) if n_part > 0 else n_needed
    rows = table.rows
    if options.random_order:
        rows = rows[_order(n_rows, options.random_seed)]
    return [table.with_rows(rows[k * size : (k + 1) * size]) for k in range(n_part)]


def _order(n_rows: int, seed: int) -> np.ndarray:
    if seed < 0:
        seed = int(np.random.default_rng().integers(2**31))
        log.info("--random_seed %d was drawn", seed)
    return np.random.default_rng(seed).permutation(n_rows)


def name_of_part(path: Path, number: int) -> Path:
    """Return OUT_splitN.star for part N, counted from 1."""
    return path.with_name(f"{path.stem}_split{number}{path.suffix}")
