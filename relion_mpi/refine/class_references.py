"""The initial references of a classification: one, several, or a STAR list of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.io.mrc import read_header
from relion_mpi.io.star import read_star
from relion_mpi.refine.class2d_options import Class2DOptions
from relion_mpi.refine.image_references import STACK, count_images, read_images, split_name
from relion_mpi.refine.random_volumes import random_volumes
from relion_mpi.refine.reference import load_reference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.refine.class_options import ClassOptions

T = TypeVar("T", bound="ClassOptions")

LABEL = "rlnReferenceImage"
LIST = ".star"


def is_one_map(options: ClassOptions) -> bool:
    """Tell whether --ref names one map or image, from which all classes begin."""
    if _has_none(options) or options.ref.suffix == LIST or "," in str(options.ref):
        return False
    return not options.is_planar or count_images(reference_files(options)) == 1


def is_of_images(ref: Path) -> bool:
    """Tell whether what a --ref names is for 2D classification, as far as files can be read.

    Parameters
    ----------
    ref
        As given; of a list or of names separated by commas the first counts.

    Raises
    ------
    InputError
        A list cannot be read.
    """
    first = Path(str(ref).split(",")[0].strip())
    if first.suffix == LIST:
        if not first.is_file():
            return False
        first = _listed(first)[0]
    if first.suffix == STACK or "@" in str(first):
        return True
    return first.is_file() and read_header(first).nz == 1


def reference_files(options: ClassOptions) -> list[Path]:
    """List the maps or images that --ref names.

    Parameters
    ----------
    options
        Of the run.

    Returns
    -------
    list of Path
        One a class, or the one of all; a stack of images stands for all of them.

    Raises
    ------
    InputError
        A list cannot be read.
    """
    if options.ref.suffix == LIST:
        return _listed(options.ref)
    return [Path(name.strip()) for name in str(options.ref).split(",") if name.strip()]


def with_classes(options: T) -> T:
    """Take the number of classes from the references where there are several.

    Parameters
    ----------
    options
        As given.

    Returns
    -------
    T
        Its K is the number of classes.

    Raises
    ------
    InputError
        --K says another number.
    """
    if _has_none(options) or is_one_map(options):
        return options
    files = reference_files(options)
    n_found = count_images(files) if options.is_planar else len(files)
    if options.K not in (1, n_found):
        raise InputError(
            f"--K {options.K}: found {n_found} reference(s) in --ref {options.ref}, expected one "
            "for all classes or one for each; leave --K out, or change --ref"
        )
    return replace(options, K=n_found)


def load_references(
    options: ClassOptions, box_size: int, pixel_size_angst: float
) -> NDArray[np.float64]:
    """Read the initial references onto the model's grid, not yet low-passed.

    Parameters
    ----------
    options
        --ref, --ref_angpix and --K.
    box_size, pixel_size_angst
        Of the model.

    Returns
    -------
    float64 (n_class, box_size, box_size, box_size)
        Copies of one map where --ref names one, or made up for an initial model. In 2D (n_class,
        box_size, box_size); zeros where averages are to be made of the particles.

    Raises
    ------
    InputError
        If a reference is not a usable cube or square.
    """
    if options.from_nothing:
        return random_volumes(
            options.K, box_size, pixel_size_angst, options.particle_diameter, options.random_seed
        )
    if _has_none(options):
        return np.zeros((options.K, box_size, box_size))
    files = reference_files(options)
    if isinstance(options, Class2DOptions):
        maps = read_images(files, options, box_size, pixel_size_angst)
    else:
        maps = [load_reference(options, box_size, pixel_size_angst, path) for path in files]
    return np.stack(maps * options.K if len(maps) == 1 else maps)


def _has_none(options: ClassOptions) -> bool:
    """Tell whether references are made by the program itself."""
    return options.from_nothing or (
        isinstance(options, Class2DOptions) and not options.has_references
    )


def _listed(path: Path) -> list[Path]:
    """Read the names in a list, relative to this folder or else to that of the list."""
    for block in read_star(path).values():
        if not isinstance(block, pl.DataFrame):
            if LABEL in block:
                return [_found(path, str(block[LABEL]))]
        elif LABEL in block.columns:
            return [_found(path, str(name)) for name in block[LABEL]]
    raise InputError(
        f"{path}: found no column {LABEL}, expected one with the map or image of each class; "
        "give such a list, or the references themselves, with --ref"
    )


def _found(path: Path, name: str) -> Path:
    index, own = split_name(Path(name))
    beside = path.parent / own
    if own.exists() or not beside.exists():
        return Path(name)
    return beside if index is None else Path(f"{index}@{beside}")
