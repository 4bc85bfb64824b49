"""Columns of a particle table as numpy arrays, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from relion_mpi.core.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Table:
    """A loop of a STAR file and where its rows stood there, for messages."""

    path: Path
    name: str
    frame: pl.DataFrame
    row_numbers: NDArray[np.int64]  # from 1, of each row in the file

    def where(self, row: int) -> str:
        """Return 'file, table, row n' for the row with index `row`."""
        return f"{self.path}, table '{self.name}', row {self.row_numbers[row]}"

    def first(self, bad: NDArray[np.bool_]) -> int:
        """Return the index of the flagged row that stands first in the file."""
        rows = np.flatnonzero(bad)
        return int(rows[np.argmin(self.row_numbers[rows])])

    def numbers(self, label: str, default: float, *, finite: bool = False) -> NDArray[np.float64]:
        """Read a column as float64, `default` everywhere if there is none.

        Parameters
        ----------
        label
            Label without underscore.
        default
            Value if the column is absent.
        finite
            Refuse NaN and infinities.

        Returns
        -------
        float64 (n_rows,)
            A new array.

        Raises
        ------
        InputError
            A value is not a number, or not finite.
        """
        if label not in self.frame.columns:
            return np.full(self.frame.height, default)
        column = self.frame[label]
        values = column.cast(pl.Float64, strict=False)
        if values.null_count():
            row = self.first(values.is_null().to_numpy())
            raise InputError(
                f"{self.where(row)}: {label} is '{column[row]}', expected a number; correct the row"
            )
        result: NDArray[np.float64] = np.array(values.to_numpy(), dtype=np.float64)
        if finite and not np.isfinite(result).all():
            row = self.first(~np.isfinite(result))
            raise InputError(
                f"{self.where(row)}: {label} is {result[row]}, expected a finite number; correct "
                "or remove the row"
            )
        return result

    def integers(self, label: str, default: int) -> NDArray[np.int64]:
        """Read a column as int64; see `numbers`.

        Parameters
        ----------
        label
            Label without underscore.
        default
            Value if the column is absent.

        Returns
        -------
        int64 (n_rows,)
            A new array.

        Raises
        ------
        InputError
            A value is not a whole number.
        """
        if label in self.frame.columns and self.frame[label].dtype == pl.Int64:
            return np.array(self.frame[label].to_numpy(), dtype=np.int64)
        values = self.numbers(label, float(default), finite=True)
        broken = values != np.floor(values)
        if broken.any():
            row = self.first(broken)
            raise InputError(f"{self.where(row)}: {label} is {values[row]}, expected an integer")
        return values.astype(np.int64)


def first_occurrence_codes(values: pl.Series) -> tuple[NDArray[np.int64], list[str]]:
    """Give distinct values numbers in the order in which they first occur.

    Parameters
    ----------
    values
        Column of text.

    Returns
    -------
    codes : int64 (n,)
        Index of each value in `names`.
    names : list of str
        Distinct values.
    """
    column = values.rename("value").cast(pl.String).to_frame()
    distinct = column.unique(maintain_order=True).with_row_index("code")
    codes = column.join(distinct, on="value", how="left", maintain_order="left")["code"]
    return codes.cast(pl.Int64).to_numpy().copy(), distinct["value"].to_list()
