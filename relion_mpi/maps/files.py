"""One map, read and written with its pixel size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from relion_mpi.core.errors import InputError
from relion_mpi.io.cube import read_cube
from relion_mpi.io.mrc import write_map

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Density:
    """A cubic map.

    Attributes
    ----------
    volume : float (n, n, n)
    pixel_size_angst
    """

    volume: NDArray[np.floating]
    pixel_size_angst: float

    @property
    def box_size(self) -> int:
        """Side in voxels."""
        return int(self.volume.shape[0])


def read_density(path: Path, pixel_size_angst: float) -> Density:
    """Read a map that must be a cube of numbers with a pixel size.

    Parameters
    ----------
    path
        MRC file.
    pixel_size_angst
        Angstrom; not positive: as in the header.

    Returns
    -------
    Density

    Raises
    ------
    InputError
        The file cannot be read, is no cube, holds values that are not finite, or has no pixel size.
    """
    volume, in_header = read_cube(path)
    size = pixel_size_angst if pixel_size_angst > 0 else in_header
    if size <= 0:
        raise InputError(f"{path}: found no pixel size in the header; give --angpix")
    return Density(volume, float(size))


def write_density(path: Path, density: Density) -> None:
    """Write a map as float32, whole or not at all; its folder is made.

    Parameters
    ----------
    path
        File to replace.
    density
        Map.

    Raises
    ------
    InputError
        It could not be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_map(path, density.volume, density.pixel_size_angst)
    except OSError as error:
        raise InputError(
            f"{path}: could not be written ({error.strerror or error}), expected a folder with "
            "enough space that may be written to; free space or choose another --o"
        ) from error
