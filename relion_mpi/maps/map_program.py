"""Do operations on one map."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.core.errors import InputError
from relion_mpi.maps.files import read_density, write_density
from relion_mpi.maps.steps import STEPS

if TYPE_CHECKING:
    from relion_mpi.maps.files import Density
    from relion_mpi.maps.map_options import MapOptions

log = logging.getLogger(__name__)


def change_map(options: MapOptions) -> Density:
    """Do what was asked for in the order of `relion_mpi.maps.steps.STEPS`, and write the map.

    Parameters
    ----------
    options
        What was asked for.

    Returns
    -------
    Density
        The new map.

    Raises
    ------
    InputError
        The files cannot be read or written, or nothing was asked for.
    """
    if options.o is None and not options.stats:
        raise InputError("found neither --o nor --stats, expected one; name the map to write")
    density = read_density(options.i, options.angpix)
    for step in STEPS:
        density = step(density, options)
    if options.stats:
        _tell(options, density)
    if options.o is not None:
        write_density(options.o, density)
        log.info(
            "%s: %d voxels a side of %.6g A", options.o, density.box_size,
            density.pixel_size_angst,
        )  # fmt: skip
    return density


def _tell(options: MapOptions, density: Density) -> None:
    volume = density.volume
    mean = float(volume.mean(dtype=np.float64))
    log.info(
        "%s: box %d pixel_angst %.6g min %.6g max %.6g mean %.6g deviation %.6g",
        options.o or options.i, density.box_size, density.pixel_size_angst, volume.min(),
        volume.max(), mean, float(volume.std(dtype=np.float64)),
    )  # fmt: skip
