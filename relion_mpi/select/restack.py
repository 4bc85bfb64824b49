"""Images of particles copied into one new stack."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.dataset.stack_index import find_images
from relion_mpi.io.mrc_stack import write_stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from relion_mpi.dataset.columns import Table
    from relion_mpi.dataset.stack_index import StackIndex

IMAGE = "rlnImageName"


def restack(table: Table, stack: Path) -> pl.DataFrame:
    """Write the images of all rows into one stack, in their order.

    Parameters
    ----------
    table
        Rows of particles.
    stack
        File to replace: float16 where all images are, else float32.

    Returns
    -------
    pl.DataFrame
        The rows with names of images in the new stack.

    Raises
    ------
    InputError
        An image is not there, images differ in size, or the stack would replace one of its own.
    """
    images = find_images(table, Path.cwd())
    _check(table, images, stack)
    first = images.headers[images.stack_file[0]]
    kinds = {header.dtype.newbyteorder("=") for header in images.headers}
    dtype = np.dtype(np.float16 if kinds == {np.dtype(np.float16)} else np.float32)
    shape = table.frame.height, first.ny, first.nx
    write_stack(stack, _each(images), shape, dtype, first.pixel_size_angst)
    names = [f"{k:06d}@{stack}" for k in range(1, shape[0] + 1)]
    return table.frame.with_columns(pl.Series(IMAGE, names))


def _check(table: Table, images: StackIndex, stack: Path) -> None:
    if any(path.resolve() == stack.resolve() for path in images.paths):
        raise InputError(
            f"{stack}: found that particles are read from this stack, expected another name for "
            "the new one; choose another --o"
        )
    sizes = np.array([(header.ny, header.nx) for header in images.headers])[images.stack_file]
    other = (sizes != sizes[0]).any(axis=1)
    if other.any():
        row = table.first(other)
        raise InputError(
            f"{table.where(row)}: found an image of {sizes[row][1]} x {sizes[row][0]} pixels, "
            f"expected {sizes[0][1]} x {sizes[0][0]} as the first one's, for --restack writes one "
            "stack; leave it out, or select optics groups of one box apart"
        )


def _each(images: StackIndex) -> Iterator[NDArray[np.generic]]:
    """Read image by image; neighbouring rows are mostly of one file."""
    row, n = 0, images.stack_file.size
    while row < n:
        file = images.stack_file[row]
        header = images.headers[file]
        with images.paths[file].open("rb") as handle:
            while row < n and images.stack_file[row] == file:
                handle.seek(header.data_offset + int(images.image_index[row]) * header.image_bytes)
                values = np.fromfile(handle, header.dtype, header.ny * header.nx)
                yield values.reshape(header.ny, header.nx)
                row += 1
