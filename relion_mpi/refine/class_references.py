"""The initial references of a classification: one map, several, or a STAR list of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.io.star import read_star
from relion_mpi.refine.reference import load_reference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.refine.class3d_options import Class3DOptions

LABEL = "rlnReferenceImage"


def is_one_map(options: Class3DOptions) -> bool:
    """Tell whether --ref names one map, from which all classes begin."""
    return options.ref.suffix != ".star" and "," not in str(options.ref)


def reference_files(options: Class3DOptions) -> list[Path]:
    """List the maps that --ref names.

    Parameters
    ----------
    options
        Of the run.

    Returns
    -------
    list of Path
        One a class, or the one of all.

    Raises
    ------
    InputError
        A list cannot be read.
    """
    if options.ref.suffix == ".star":
        return _listed(options.ref)
    return [Path(name.strip()) for name in str(options.ref).split(",") if name.strip()]


def with_classes(options: Class3DOptions) -> Class3DOptions:
    """Take the number of classes from the references where there are several.

    Parameters
    ----------
    options
        As given.

    Returns
    -------
    Class3DOptions
        Its K is the number of classes.

    Raises
    ------
    InputError
        --K says another number.
    """
    if is_one_map(options):
        return options
    n_found = len(reference_files(options))
    if options.K not in (1, n_found):
        raise InputError(
            f"--K {options.K}: found {n_found} reference(s) in --ref {options.ref}, expected one "
            "for all classes or one for each; leave --K out, or change --ref"
        )
    return replace(options, K=n_found)


def load_references(
    options: Class3DOptions, box_size: int, pixel_size_angst: float
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
        Copies of one map where --ref names one.

    Raises
    ------
    InputError
        If a map is not a usable cube.
    """
    maps = [
        load_reference(options, box_size, pixel_size_angst, path)
        for path in reference_files(options)
    ]
    return np.stack(maps * options.K if len(maps) == 1 else maps)


def _listed(path: Path) -> list[Path]:
    """Read the names in a list, relative to this folder or else to that of the list."""
    for block in read_star(path).values():
        if not isinstance(block, pl.DataFrame):
            if LABEL in block:
                return [_found(path, str(block[LABEL]))]
        elif LABEL in block.columns:
            return [_found(path, str(name)) for name in block[LABEL]]
    raise InputError(
        f"{path}: found no column {LABEL}, expected one with the map of each class; give such a "
        "list, or maps, with --ref"
    )


def _found(path: Path, name: str) -> Path:
    beside = path.parent / name
    return beside if not Path(name).exists() and beside.exists() else Path(name)
