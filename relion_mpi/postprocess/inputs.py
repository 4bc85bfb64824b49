"""Maps, masks and detector curves, held against each other."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.io.cube import read_cube
from relion_mpi.io.star import read_star

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from relion_mpi.postprocess.options import PostprocessOptions

log = logging.getLogger(__name__)

_MASK_SLACK = 1e-6
_MTF_LABELS = ("rlnResolutionInversePixel", "rlnMtfValue")


@dataclass(frozen=True, slots=True)
class HalfMaps:
    """Two half-maps as they were read.

    Attributes
    ----------
    names : files
    volumes : two float32 (n, n, n); the list is emptied as the maps are used up
    box_size, pixel_size_angst : grid
    """

    names: tuple[Path, Path]
    volumes: list[NDArray[np.float32]]
    box_size: int
    pixel_size_angst: float


def read_halves(options: PostprocessOptions) -> HalfMaps:
    """Read both half-maps.

    Parameters
    ----------
    options
        Their names and pixel size.

    Returns
    -------
    HalfMaps

    Raises
    ------
    InputError
        They cannot be read, are no even cubes, or do not fit each other.
    """
    names = (options.i, options.i2 or other_half(options.i))
    log.info("== Reading input half-reconstructions:")
    for number, name in enumerate(names, 1):
        log.info("  + half%d-map:                     %s", number, name)
    first, of_header = read_even_cube(names[0])
    pixel_size = chosen_pixel_size(names[0], options.angpix, of_header)
    second = read_like(names[1], names[0], first.shape[0])
    return HalfMaps(names, [first, second], first.shape[0], pixel_size)


def other_half(path: Path) -> Path:
    """Name the map of the other half-set.

    Parameters
    ----------
    path
        With half1 or half2 in the name of the file.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        It has neither.
    """
    for one, other in (("half1", "half2"), ("half2", "half1")):
        if one in path.name:
            return path.with_name(path.name.replace(one, other, 1))
    raise InputError(
        f"--i {path}: found neither half1 nor half2 in the name, expected one of them; name the "
        "other half-map with --i2"
    )


def read_even_cube(path: Path) -> tuple[NDArray[np.float32], float]:
    """Read a map whose transform is to be taken.

    Parameters
    ----------
    path
        MRC file.

    Returns
    -------
    volume : float32 (n, n, n)
    pixel_size_angst : float
        0 where the header has none.

    Raises
    ------
    InputError
        It cannot be read, or is no cube of an even number of finite voxels.
    """
    volume, pixel_size_angst = read_cube(path)
    if volume.shape[0] % 2:
        raise InputError(
            f"{path}: found a cube of {volume.shape[0]} voxels a side, expected an even number; "
            "crop or pad the map, for example with relion-mpi map --new_box"
        )
    return volume, pixel_size_angst


def read_like(path: Path, first: Path, box_size: int) -> NDArray[np.float32]:
    """Read a map that must lie on the grid of another.

    Parameters
    ----------
    path
        MRC file.
    first
        The other, for the message.
    box_size
        Of the other.

    Returns
    -------
    float32 (n, n, n)

    Raises
    ------
    InputError
        It cannot be read or has another size.
    """
    volume, _ = read_even_cube(path)
    if volume.shape[0] != box_size:
        raise InputError(
            f"{path}: found a box of {volume.shape[0]} voxels, expected {box_size} as in {first}; "
            "give maps on one grid"
        )
    return volume


def read_mask(path: Path, first: Path, box_size: int) -> NDArray[np.float32]:
    """Read a mask.

    Parameters
    ----------
    path, first, box_size
        As for `read_like`.

    Returns
    -------
    float32 (n, n, n) in 0..1

    Raises
    ------
    InputError
        It cannot be read, has another size, or values outside 0..1, or none above 0.
    """
    mask = read_like(path, first, box_size)
    low, high = float(mask.min()), float(mask.max())
    if low < -_MASK_SLACK or high > 1.0 + _MASK_SLACK or high <= 0.0:
        raise InputError(
            f"{path}: found values from {low:g} to {high:g}, expected a mask of 0 to 1; make one, "
            "for example with relion-mpi mask"
        )
    return mask


def chosen_pixel_size(path: Path, given: float, of_header: float) -> float:
    """Decide which pixel size counts.

    Parameters
    ----------
    path
        Map, for the message.
    given
        --angpix, Angstrom; not above 0 for none.
    of_header
        Angstrom; 0 for none.

    Returns
    -------
    float
        Angstrom.

    Raises
    ------
    InputError
        There is none.
    """
    if given > 0:
        return given
    if of_header <= 0:
        raise InputError(f"{path}: the header has no pixel size, expected one; give --angpix")
    log.info("  + pixel size, from the header:   %.6g A", of_header)
    return of_header


def read_mtf(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read the modulation transfer function of a detector.

    Parameters
    ----------
    path
        STAR file with rlnResolutionInversePixel and rlnMtfValue.

    Returns
    -------
    frequency : float64 (n,), ascending, 1 / pixel of the movies
    value : float64 (n,), above 0

    Raises
    ------
    InputError
        The table is missing, too short, not ascending, or has values of 0 or below.
    """
    for block in read_star(path).values():
        if isinstance(block, pl.DataFrame) and set(_MTF_LABELS) <= set(block.columns):
            frequency, value = (block[label].cast(pl.Float64).to_numpy() for label in _MTF_LABELS)
            break
    else:
        raise InputError(f"{path}: found no table with {' and '.join(_MTF_LABELS)}; give an MTF")
    if frequency.size < 2 or np.any(np.diff(frequency) <= 0):
        raise InputError(f"{path}: {_MTF_LABELS[0]}: expected two or more ascending frequencies")
    bad = np.flatnonzero(~(value > 1e-10))
    if bad.size:
        raise InputError(
            f"{path}: row {bad[0] + 1}: {_MTF_LABELS[1]} is {value[bad[0]]:g}, expected a number "
            "above 0; cut or correct the curve"
        )
    return frequency, value
