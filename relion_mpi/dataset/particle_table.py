"""Tables of a particle STAR file: found, sorted, and checked column by column."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.dataset.columns import Table, first_occurrence_codes
from relion_mpi.dataset.legacy import to_optics_groups
from relion_mpi.dataset.stack_index import find_images
from relion_mpi.io.star import read_star

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from relion_mpi.dataset.optics_groups import OpticsGroups
    from relion_mpi.dataset.stack_index import StackIndex

log = logging.getLogger(__name__)

# RELION writes 999 where a particle has no prior.
_NO_PRIOR = 998.0
# A header pixel size further off than this is worth a warning.
_PIXEL_SIZE_TOLERANCE = 0.01


def find_tables(path: Path) -> tuple[pl.DataFrame, Table]:
    """Find the particle table, splitting off optics groups if the file is an old one."""
    loops = {k: block for k, block in read_star(path).items() if isinstance(block, pl.DataFrame)}
    candidates = [name for name in loops if name != "optics"]
    wanted = [name for name in candidates if name in {"particles", "images"}]
    wanted += [name for name in candidates if "rlnImageName" in loops[name].columns]
    wanted += candidates
    if not wanted:
        raise InputError(f"{path}: found no table of particles, expected data_particles")
    name = wanted[0]
    frame = loops[name]
    rows = np.arange(1, frame.height + 1)
    if "optics" in loops:
        return loops["optics"], Table(path, name, frame, rows)
    if "rlnImageName" not in frame.columns:
        find_images(Table(path, name, frame, rows), path.parent)  # says what is missing
    optics, frame = to_optics_groups(Table(path, name, frame, rows))
    log.info("%s is of RELION 3.0 or before: %d optics groups were made", path, optics.height)
    return optics, Table(path, name, frame, rows)


def sort_by_micrograph(table: Table) -> Table:
    """Sort rows as RELION does, so that rows of its output and ours correspond."""
    if "rlnMicrographName" not in table.frame.columns:
        return table
    names = table.frame["rlnMicrographName"].cast(pl.String)
    if "@" in (names[0] or ""):
        names = names.str.replace(r"^[^@]*@", "")
    if names.is_sorted():
        return table
    keys = pl.DataFrame({"name": names}).with_row_index("row")
    order = keys.sort("name", maintain_order=True)["row"]
    return Table(table.path, table.name, table.frame[order], table.row_numbers[order.to_numpy()])


def with_images_in(table: Table, folder: Path) -> Table:
    """Name the stacks as they lie in one folder, without the folders of their names."""
    if "rlnImageName" not in table.frame.columns:
        return table  # which is told where images are looked for
    names = table.frame["rlnImageName"].cast(pl.String)
    index, stack = names.str.extract_groups(r"^([^@]*@)(?:.*/)?(.*)$").struct.unnest()
    names = index + f"{folder}/" + stack
    return dataclasses.replace(table, frame=table.frame.with_columns(names.alias("rlnImageName")))


def optics_rows(table: Table, optics: OpticsGroups) -> NDArray[np.int64]:
    """Return the optics group (index) of every particle; refuse unknown ids."""
    if "rlnOpticsGroup" not in table.frame.columns:
        raise InputError(
            f"{table.path}, table '{table.name}': found no column rlnOpticsGroup, expected the "
            "group of each particle; add it"
        )
    numbers = table.integers("rlnOpticsGroup", 1)
    rows = optics.indices(numbers)
    if (rows < 0).any():
        row = table.first(rows < 0)
        raise InputError(
            f"{table.where(row)}: rlnOpticsGroup is {numbers[row]}, expected one of "
            f"{optics.number.tolist()} as in data_optics; correct either table"
        )
    return rows


def half_sets(table: Table) -> NDArray[np.int8]:
    """Return the half-set of every particle, 0 everywhere if the file has none."""
    half = table.integers("rlnRandomSubset", 0)
    bad = (half != 1) & (half != 2)
    if bad.any() and half.any():
        row = table.first(bad)
        raise InputError(
            f"{table.where(row)}: rlnRandomSubset is {half[row]}, expected 1 or 2 in every row; "
            "correct it, or remove the column to have the half-sets drawn"
        )
    return half.astype(np.int8)


def with_box_sizes(
    table: Table, optics: OpticsGroups, optics_group: NDArray[np.int64], images: StackIndex
) -> OpticsGroups:
    """Fill in box sizes from the stacks and check that all images of a group have it."""
    sides = np.array([header.nx for header in images.headers], dtype=np.int64)[images.stack_file]
    box_size = optics.box_size.copy()
    groups, first = np.unique(optics_group, return_index=True)
    for group, row in zip(groups, first, strict=True):
        if box_size[group] == 0:
            box_size[group] = sides[row]
    wrong = sides != box_size[optics_group]
    if wrong.any():
        row = table.first(wrong)
        raise InputError(
            f"{table.where(row)}: the image is {sides[row]} pixels wide, expected "
            f"{box_size[optics_group[row]]} as its optics group says (rlnImageSize); correct the "
            "optics table or the image name"
        )
    odd = sides % 2 != 0
    if odd.any():
        row = table.first(odd)
        raise InputError(
            f"{table.where(row)}: the image is {sides[row]} pixels wide, expected an even number; "
            "extract the particles again"
        )
    if np.array_equal(box_size, optics.box_size):
        return optics
    # A group without particles: RELION wants a size, and the first group gives the model's.
    box_size[box_size == 0] = sides[0]
    added = [pl.Series("rlnImageSize", box_size)]
    if "rlnImageDimensionality" not in optics.table.columns:
        added.append(pl.Series("rlnImageDimensionality", np.full(box_size.size, 2)))
    return dataclasses.replace(optics, box_size=box_size, table=optics.table.with_columns(added))


def compare_pixel_sizes(
    path: Path, optics: OpticsGroups, optics_group: NDArray[np.int64], images: StackIndex
) -> None:
    """Warn where a stack's header and the STAR file disagree on the pixel size."""
    in_header = np.array([header.pixel_size_angst for header in images.headers])
    stack, row = np.unique(images.stack_file, return_index=True)
    in_table = optics.pixel_size_angst[optics_group[row]]
    ratio = in_header[stack] / in_table
    off = (in_header[stack] > 0) & (np.abs(ratio - 1) > _PIXEL_SIZE_TOLERANCE)
    if off.any():
        i = int(np.flatnonzero(off)[0])
        log.warning(
            "%s: pixel size is %g Angstrom, but %g in the header of %s (and %d other stacks); "
            "the STAR file's is used",
            path,
            in_table[i],
            in_header[stack[i]],
            images.paths[stack[i]],
            int(off.sum()) - 1,
        )


def scale_groups(table: Table) -> tuple[NDArray[np.int64], list[str]]:
    """Return the scale group (index) of every particle and the names of the groups."""
    for label in ("rlnGroupName", "rlnMicrographName"):
        if label in table.frame.columns:
            return first_occurrence_codes(table.frame[label])
    log.warning(
        "%s: neither rlnGroupName nor rlnMicrographName: all particles are one group, so that "
        "scale correction has no effect",
        table.path,
    )
    return np.zeros(table.frame.height, dtype=np.int64), ["group1"]


def priors(table: Table, labels: tuple[str, ...]) -> NDArray[np.float64] | None:
    """Return prior columns side by side, NaN where a particle has none; None without columns."""
    if not any(label in table.frame.columns for label in labels):
        return None
    values = np.stack([table.numbers(label, np.nan) for label in labels], axis=1)
    values[values > _NO_PRIOR] = np.nan
    return values
