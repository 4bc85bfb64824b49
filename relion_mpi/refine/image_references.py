"""Initial references of a 2D classification: images of stacks, counted, read, put on the grid."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.core.errors import InputError
from relion_mpi.io.mrc import read_header, read_map
from relion_mpi.refine.reference import check_grid, on_model_grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from relion_mpi.refine.class2d_options import Class2DOptions

STACK = ".mrcs"


def split_name(name: Path) -> tuple[int | None, Path]:
    """Take 'index@stack' apart.

    Parameters
    ----------
    name
        Of an image, or of a file with all its images.

    Returns
    -------
    index : int or None
        Counted from 1; None for all images.
    path : Path
        Of the file.

    Raises
    ------
    InputError
        What stands before the @ is no number of 1 or more.
    """
    index, at, path = str(name).partition("@")
    if not at:
        return None, name
    if not index.isdecimal() or int(index) < 1:
        msg = f"--ref: found '{name}', expected 'index@stack' with an index of 1 or more"
        raise InputError(f"{msg}; correct the name")
    return int(index), Path(path)


def count_images(names: Sequence[Path]) -> int:
    """Count the images that names stand for.

    Parameters
    ----------
    names
        Each 'index@stack', or a file, which stands for all its images.

    Returns
    -------
    int
        Their number.

    Raises
    ------
    InputError
        A file cannot be read, holds a volume, or has fewer images than a name says.
    """
    return sum(len(_sections(name)) for name in names)


def read_images(
    names: Sequence[Path], options: Class2DOptions, box_size: int, pixel_size_angst: float
) -> list[NDArray[np.float64]]:
    """Read images onto the model's grid, not yet low-passed.

    Parameters
    ----------
    names
        As for `count_images`.
    options
        --ref_angpix.
    box_size, pixel_size_angst
        Of the model.

    Returns
    -------
    list of float64 (box_size, box_size)

    Raises
    ------
    InputError
        If an image cannot be used.
    """
    found, opened = [], (Path(), np.empty(0, np.float32), 0.0)
    for name in names:
        _, path = split_name(name)
        sections = _sections(name)
        if opened[0] != path:  # the images of a list are mostly of one stack
            opened = (path, *read_map(path))
        _, images, pixel = opened
        for i in sections:
            label, image = Path(f"{i + 1}@{path}"), images[i].astype(np.float64)
            check_grid(image, label, "reference")
            found.append(on_model_grid(
                image, pixel, label, options.ref_angpix, box_size, pixel_size_angst
            ))  # fmt: skip
    return found


def _sections(name: Path) -> range:
    """Return which sections of its file a name stands for."""
    index, path = split_name(name)
    header = read_header(path)
    if header.nx != header.ny:
        msg = f"{path}: the references are {header.nx} x {header.ny} pixels, expected a square"
        raise InputError(f"{msg}; crop or pad them")
    if index is None:
        if header.nz > 1 and path.suffix != STACK:
            msg = f"{path}: found {header.nz} sections, expected one image as a 2D reference"
            raise InputError(f"{msg}; a stack of images is named {STACK}")
        return range(header.nz)
    if index > header.nz:
        msg = f"{name}: found {header.nz} images in the stack, expected {index} at least"
        raise InputError(f"{msg}; correct the name or the stack")
    return range(index - 1, index)
