"""From image names to files: which stack, which section, and whether both are there."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path  # noqa: TC003 - a NamedTuple's types are looked up
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.dataset.columns import first_occurrence_codes
from relion_mpi.io.mrc import MrcHeader, read_header

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.dataset.columns import Table

log = logging.getLogger(__name__)

# Opening files on a network file system is latency, not work.
_N_THREADS = 16


class StackIndex(NamedTuple):
    """Where the image of each particle is."""

    stack_file: NDArray[np.int64]  # (n,), index into paths
    image_index: NDArray[np.int64]  # (n,), from 0
    paths: list[Path]  # absolute
    headers: list[MrcHeader]


def find_images(table: Table, project_root: Path) -> StackIndex:
    """Locate the image of every particle and check it against its stack's header.

    Parameters
    ----------
    table
        Particle rows.
    project_root
        Folder that relative names start from; where a file is missing there, the folder of the
        STAR file is tried.

    Returns
    -------
    StackIndex
        Files in the order of first use. Each header is read once.

    Raises
    ------
    InputError
        No rlnImageName, a name without '@', an index below 1 or beyond the stack, a stack that is
        missing, truncated or of images that are not square.
    """
    if "rlnImageName" not in table.frame.columns:
        raise InputError(
            f"{table.path}, table '{table.name}': found no column rlnImageName, expected "
            "'index@stack' for each particle; is this a particle STAR file?"
        )
    index, names = _split_names(table)
    stack_file, distinct = first_occurrence_codes(names)
    paths = _resolve(table, stack_file, distinct, project_root)
    headers = _read_headers(table, stack_file, paths)
    sections = np.array([header.nz for header in headers], dtype=np.int64)[stack_file]
    beyond = index > sections
    if beyond.any():
        row = table.first(beyond)
        raise InputError(
            f"{table.where(row)}: rlnImageName is '{table.frame['rlnImageName'][row]}', but "
            f"{paths[stack_file[row]]} holds {sections[row]} images; correct the name or the stack"
        )
    return StackIndex(stack_file, index - 1, paths, headers)


def warn_of_repeated_images(table: Table, images: StackIndex) -> None:
    """Log a warning where one image is named by several particles."""
    keys = (images.stack_file << 32) | images.image_index
    distinct, first = np.unique(keys, return_index=True)
    if distinct.size == keys.size:
        return
    repeated = np.ones(keys.size, dtype=bool)
    repeated[first] = False
    row = table.first(repeated)
    log.warning(
        "%s: %d particles name an image that another particle names, the first is '%s' (row %d); "
        "the half-sets may share it",
        table.path,
        int(repeated.sum()),
        table.frame["rlnImageName"][row],
        table.row_numbers[row],
    )


def _split_names(table: Table) -> tuple[NDArray[np.int64], pl.Series]:
    """Split 'index@stack', refusing what is not of that form."""
    column = table.frame["rlnImageName"].cast(pl.String)
    parts = column.str.splitn("@", 2).struct.rename_fields(["index", "stack"]).struct.unnest()
    index = parts["index"].cast(pl.Int64, strict=False).fill_null(0).to_numpy()
    bad = (index < 1) | (parts["stack"].fill_null("") == "").to_numpy()
    if bad.any():
        row = table.first(bad)
        raise InputError(
            f"{table.where(row)}: rlnImageName is '{column[row]}', expected 'index@stack' with an "
            "index of 1 or more; correct the name"
        )
    return index.astype(np.int64), parts["stack"]


def _resolve(
    table: Table, stack_file: NDArray[np.int64], names: list[str], project_root: Path
) -> list[Path]:
    beside = table.path.resolve().parent
    warned = False
    paths: list[Path] = []
    for code, name in enumerate(names):
        path = project_root / name  # an absolute name replaces the root
        if not _is_file(path):
            other = beside / name
            if not _is_file(other):
                row = table.first(stack_file == code)
                raise InputError(
                    f"{table.where(row)}: there is no stack {path}{_why_not(path)}, expected it "
                    f"below the project folder {project_root}; start the program there or correct "
                    "rlnImageName"
                )
            if not warned:
                log.warning("%s is not below %s; taken from %s", name, project_root, beside)
                warned = True
            path = other
        paths.append(path)
    return paths


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder that may not be searched, a name that is too long
        return False


def _why_not(path: Path) -> str:
    """Return the system's reason, such as a loop of symbolic links, in brackets."""
    try:
        path.stat()
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f" ({error.strerror})"
    return " (not a file)"


def _read_headers(
    table: Table, stack_file: NDArray[np.int64], paths: list[Path]
) -> list[MrcHeader]:
    def read(path: Path) -> MrcHeader | InputError:
        try:
            return read_header(path)
        except InputError as error:
            return error

    headers: list[MrcHeader] = []
    with ThreadPoolExecutor(_N_THREADS) as pool:
        for code, header in enumerate(pool.map(read, paths)):
            if isinstance(header, InputError):
                row = table.first(stack_file == code)
                raise InputError(f"{table.where(row)}: {header}") from header
            if header.nx != header.ny:
                row = table.first(stack_file == code)
                raise InputError(
                    f"{table.where(row)}: images of {header.path} are {header.nx} x {header.ny} "
                    "pixels, expected square ones; extract the particles again"
                )
            headers.append(header)
    return headers
