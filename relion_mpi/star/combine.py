"""Rows of several files in one, with optics groups that mean one thing."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.star.duplicates import repeated
from relion_mpi.star.table import GROUP, GROUP_NAME, OPTICS, StarTable

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)

_RELATIVE_SLACK = 1e-6  # RELION writes six digits


def combined(tables: Sequence[StarTable], check_duplicates: str | None) -> StarTable:
    """Put rows under one another.

    Parameters
    ----------
    tables
        Of one kind.
    check_duplicates
        Column whose values should occur once; None for none.

    Returns
    -------
    StarTable
        Columns that all have, in the order of the first.

    Raises
    ------
    InputError
        Tables are of different kinds, or some have optics groups and others not.

    Notes
    -----
    Source: relion_star_handler --combine of RELION 3.1, with which tests compare. Differs where
    groups of one name have different values: RELION takes the first's for both.
    """
    first = tables[0]
    for table in tables[1:]:
        if table.name != first.name or (table.optics is None) != (first.optics is None):
            raise InputError(
                f"{table.path}: found data_{table.name} {_with(table)} optics groups, expected "
                f"data_{first.name} {_with(first)} as in {first.path}; combine files of one kind"
            )
    rows = [table.rows for table in tables]
    blocks = dict(first.blocks)
    if first.optics is not None:
        optics, rows = _joined_optics(tables)
        blocks[OPTICS] = optics
    common = [name for name in rows[0].columns if all(name in one.columns for one in rows)]
    for table, one in zip(tables, rows, strict=True):
        left_out = [name for name in one.columns if name not in common]
        if left_out:
            log.warning(
                "%s: left out column(s) %s, which not all files have", table.path,
                ", ".join(left_out),
            )  # fmt: skip
    whole = pl.concat([one.select(common) for one in rows], how="vertical_relaxed")
    result = StarTable(first.path, {**blocks, first.name: whole}, first.name)
    if check_duplicates is not None:
        _warn_of_duplicates(result, check_duplicates)
    return result


def _with(table: StarTable) -> str:
    return "without" if table.optics is None else "with"


@dataclass(frozen=True, slots=True)
class _Group:
    """An optics group and what it was called where it came from."""

    name: str
    values: dict[str, Any]


def _joined_optics(tables: Sequence[StarTable]) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """Give each group its number in the new table, and rows the numbers of their groups."""
    common = _common_columns(tables)
    groups: list[_Group] = []
    rows = []
    for table in tables:
        assert table.optics is not None
        number_of = {
            int(group[GROUP]): _number(groups, group, table)
            for group in table.optics.select(common).iter_rows(named=True)
        }
        table.of_optics(GROUP)  # every row is of a group that exists
        old = table.checked().integers(GROUP, 1)
        new = pl.Series(GROUP, old).replace_strict(number_of, return_dtype=pl.Int64)
        rows.append(table.rows.with_columns(new))
    return pl.DataFrame([one.values for one in groups], infer_schema_length=None), rows


def _common_columns(tables: Sequence[StarTable]) -> list[str]:
    optics = [table.optics for table in tables if table.optics is not None]
    for table, one in zip(tables, optics, strict=True):
        if not {GROUP, GROUP_NAME} <= set(one.columns):
            raise InputError(
                f"{table.path}: found no {GROUP} or no {GROUP_NAME} in data_optics, expected both; "
                "add them"
            )
    common = [name for name in optics[0].columns if all(name in one.columns for one in optics)]
    dropped = {name for one in optics for name in one.columns} - set(common)
    if dropped:
        names = ", ".join(sorted(dropped))
        log.warning("data_optics: left out %s, which not all files have", names)
    return common


def _number(groups: list[_Group], group: dict[str, Any], table: StarTable) -> int:
    """Find a group among those that are there, or add it."""
    name = str(group[GROUP_NAME])
    same_name = [one.values for one in groups if one.name == name]
    for one in same_name:
        if _is_same(one, group):
            return int(one[GROUP])
    added = {**group, GROUP: len(groups) + 1}
    taken = {one.values[GROUP_NAME] for one in groups}
    if name in taken:
        new = next(n for k in range(2, len(groups) + 3) if (n := f"{name}_{k}") not in taken)
        added[GROUP_NAME] = new
        log.warning(
            "%s: optics group '%s' has other values than the group of this name before: it is "
            "kept apart as '%s'", table.path, name, new,
        )  # fmt: skip
    groups.append(_Group(name, added))
    return len(groups)


def _is_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(
        _is_same_value(value, other[label])
        for label, value in one.items()
        if label not in (GROUP, GROUP_NAME)
    )


def _is_same_value(one: Any, other: Any) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return str(one) == str(other)
    return math.isclose(one, other, rel_tol=_RELATIVE_SLACK, abs_tol=1e-9)


def _warn_of_duplicates(table: StarTable, label: str) -> None:
    column = table.column(label, "--check_duplicates")
    again = repeated(column)
    if not again.any():
        log.info("%s: no value occurs twice", column.name)
        return
    log.warning(
        "%d rows repeat a value of %s, the first of them %s; --unique %s leaves them out",
        int(again.sum()), column.name, column.filter(pl.Series(again))[0], column.name,
    )  # fmt: skip
