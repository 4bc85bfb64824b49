"""One operation on STAR files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.core.errors import InputError
from relion_mpi.star import histogram
from relion_mpi.star.columns import operated, with_column, without_column
from relion_mpi.star.combine import combined
from relion_mpi.star.cryosparc import CsParticles
from relion_mpi.star.duplicates import repeated, too_near
from relion_mpi.star.from_cryosparc import tables_of
from relion_mpi.star.poses import centred, expanded
from relion_mpi.star.selecting import like_the_others, with_text, within_range
from relion_mpi.star.split import name_of_part, parts_of
from relion_mpi.star.table import StarTable, read_table, write_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from relion_mpi.star.options import StarOptions

log = logging.getLogger(__name__)


def handle(options: StarOptions) -> None:
    """Do what was asked for.

    Parameters
    ----------
    options
        One operation.

    Raises
    ------
    InputError
        None or several operations were asked for, or one cannot be done.
    """
    action = _chosen(options)
    paths = _files(options)
    if action == "--from_cryosparc":
        particles = CsParticles(paths)
        made = tables_of(particles, options.image_folder, invert_y=options.invert_y)
        write_table(options.o, made)
        return
    tables = [
        read_table(path, options.i_tablename, ignore_optics=options.ignore_optics)
        for path in paths
    ]
    if action == "--combine":
        _refuse_own(options.o, tables)
        write_table(options.o, combined(tables, options.check_duplicates))
        return
    if len(tables) > 1:
        raise InputError(
            f"--i: found {len(tables)} files, expected one with {action}; --combine them first"
        )
    _DO[action](tables[0], options)


def _chosen(options: StarOptions) -> str:
    asked = {
        "--combine": options.combine,
        "--split": options.split,
        "--select": options.select is not None,
        "--select_by_str": options.select_by_str is not None,
        "--discard_on_stats": options.discard_on_stats,
        "--remove_duplicates": options.remove_duplicates >= 0,
        "--unique": options.unique is not None,
        "--operate": options.operate is not None,
        "--remove_column": options.remove_column is not None,
        "--add_column": options.add_column is not None,
        "--hist_column": options.hist_column is not None,
        "--center": options.center,
        "--symmetry_expand": options.symmetry_expand,
        "--from_cryosparc": options.from_cryosparc,
    }
    chosen = [flag for flag, is_asked in asked.items() if is_asked]
    if len(chosen) != 1:
        raise InputError(
            f"found {' and '.join(chosen) or 'no operation'}, expected one of {', '.join(asked)}; "
            "do one after the other"
        )
    return chosen[0]


def _files(options: StarOptions) -> list[Path]:
    """Return the files; RELION's way to name several is one word with blanks."""
    paths: list[Path] = []
    for given in options.i:
        words = str(given).split()
        paths += [given] if given.exists() or len(words) == 1 else [Path(word) for word in words]
    return paths


def _refuse_own(path: Path, tables: list[StarTable]) -> None:
    if any(path.resolve() == table.path.resolve() for table in tables):
        raise InputError(f"--o {path}: found a file that is read, expected another name")


def _keep(
    table: StarTable, options: StarOptions, good: NDArray[np.bool_], removed: str | None = None
) -> None:
    """Write the rows that are kept, and perhaps the others too."""
    if not good.any():
        raise InputError(
            f"{table.path}: found none of {good.size} rows to keep, expected one or more; nothing "
            "was written"
        )
    log.info("kept %d of %d rows, left out %d", good.sum(), good.size, good.size - good.sum())
    write_table(options.o, table.with_rows(table.rows[np.flatnonzero(good)]))
    if removed is not None and not good.all():
        other = options.o.with_name(f"{options.o.stem}_{removed}{options.o.suffix}")
        write_table(other, table.with_rows(table.rows[np.flatnonzero(~good)]))


def _split(table: StarTable, options: StarOptions) -> None:
    for number, part in enumerate(parts_of(table, options), 1):
        write_table(name_of_part(options.o, number), part)


def _without_near(table: StarTable, options: StarOptions) -> None:
    near = too_near(table, options.remove_duplicates, options.image_angpix)
    _keep(table, options, ~near, "removed")


def _unique(table: StarTable, options: StarOptions) -> None:
    assert options.unique is not None
    _keep(table, options, ~repeated(table.column(options.unique, "--unique")), "removed")


def _histogram(table: StarTable, options: StarOptions) -> None:
    found = histogram.histogram(table, options)
    path = options.o.with_suffix(".png")
    path.parent.mkdir(parents=True, exist_ok=True)
    histogram.draw(path, found, options)
    log.info("%s: histogram of %s", path, found.label)


def _centred(table: StarTable, options: StarOptions) -> None:
    point = options.center_x, options.center_y, options.center_z
    write_table(options.o, centred(table, point))


def _without_column(table: StarTable, options: StarOptions) -> None:
    assert options.remove_column is not None
    write_table(options.o, without_column(table, options.remove_column))


_DO: dict[str, Callable[[StarTable, StarOptions], None]] = {
    "--split": _split,
    "--select": lambda table, options: _keep(table, options, within_range(table, options)),
    "--select_by_str": lambda table, options: _keep(table, options, with_text(table, options)),
    "--discard_on_stats": lambda table, options: _keep(
        table, options, like_the_others(table, options)
    ),
    "--remove_duplicates": _without_near,
    "--unique": _unique,
    "--operate": lambda table, options: write_table(options.o, operated(table, options)),
    "--remove_column": _without_column,
    "--add_column": lambda table, options: write_table(options.o, with_column(table, options)),
    "--hist_column": _histogram,
    "--center": _centred,
    "--symmetry_expand": lambda table, options: write_table(
        options.o, expanded(table, options.sym)
    ),
}
