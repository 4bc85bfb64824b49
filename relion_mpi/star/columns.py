"""Columns changed, added and left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.io.labels import TEXT_LABELS

if TYPE_CHECKING:
    from relion_mpi.star.options import StarOptions
    from relion_mpi.star.table import StarTable


def operated(table: StarTable, options: StarOptions) -> StarTable:
    """Set, or multiply and then increase, the numbers of up to three columns.

    Parameters
    ----------
    table
        Rows.
    options
        Columns and numbers.

    Returns
    -------
    StarTable
        Whole numbers stay whole where the result is.

    Raises
    ------
    InputError
        A column is missing or holds what is no number.
    """
    changed = []
    for flag, label in (
        ("--operate", options.operate), ("--operate2", options.operate2),
        ("--operate3", options.operate3),
    ):  # fmt: skip
        if label is None:
            continue
        column = table.column(label, flag)
        if options.set_to is not None:
            changed.append(_constant(column.name, options.set_to, table.rows.height))
            continue
        values = table.numbers(label, flag) * options.multiply_by + options.add_to
        whole = column.dtype == pl.Int64 and bool(np.all(values == np.floor(values)))
        changed.append(pl.Series(column.name, values.astype(np.int64) if whole else values))
    return table.with_rows(table.rows.with_columns(changed))


def with_column(table: StarTable, options: StarOptions) -> StarTable:
    """Add a column of one value, or a copy of another.

    Parameters
    ----------
    table
        Rows.
    options
        Label, and value or column to copy.

    Returns
    -------
    StarTable

    Raises
    ------
    InputError
        Not exactly one of value and column is given, or the column is missing.
    """
    assert options.add_column is not None
    label = options.add_column.removeprefix("_")
    value, copied = options.add_column_value, options.copy_column_from
    if (value is None) == (copied is None):
        raise InputError(
            f"--add_column {label}: found {'neither' if value is None else 'both'} of "
            "--add_column_value and --copy_column_from, expected one"
        )
    if copied is not None:
        column = table.column(copied, "--copy_column_from").alias(label)
    else:
        column = _constant(label, str(value), table.rows.height)
    return table.with_rows(table.rows.with_columns(column))


def without_column(table: StarTable, label: str) -> StarTable:
    """Leave out a column.

    Parameters
    ----------
    table
        Rows.
    label
        Of the column.

    Returns
    -------
    StarTable

    Raises
    ------
    InputError
        There is no such column, or no other.
    """
    column = table.column(label, "--remove_column")
    if table.rows.width == 1:
        raise InputError(f"--remove_column {label}: found no other column, expected one or more")
    return table.with_rows(table.rows.drop(column.name))


def _constant(label: str, value: str, n_rows: int) -> pl.Series:
    """Make a column of one value: a number if it is one and the label is not one of text."""
    kinds = () if label in TEXT_LABELS else (int, float)
    for kind in kinds:
        try:
            return pl.Series(label, [kind(value)] * n_rows)
        except ValueError:
            continue
    return pl.Series(label, [value] * n_rows)
