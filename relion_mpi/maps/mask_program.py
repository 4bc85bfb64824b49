"""Make a solvent mask of a map."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.core.errors import InputError
from relion_mpi.maps.files import Density, read_density, write_density
from relion_mpi.maps.filters import lowpassed
from relion_mpi.maps.mask import extended, filled, soft_edged
from relion_mpi.maps.threshold import automatic_threshold

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.maps.mask_options import MaskOptions

log = logging.getLogger(__name__)


def make_mask(options: MaskOptions) -> Density:
    """Make a mask and write it.

    Parameters
    ----------
    options
        What was asked for.

    Returns
    -------
    Density
        The mask, 0 to 1.

    Raises
    ------
    InputError
        The files cannot be read or written, or nothing or everything would be inside.
    """
    if options.o.resolve() == options.i.resolve():
        raise InputError(f"--o {options.o}: found the map that is read, expected another name")
    density = read_density(options.i, options.angpix)
    seed = _seed(options, density)
    inside = extended(seed, options.extend_inimask)
    if options.fill:
        before, inside = int(inside.sum()), filled(inside)
        log.info("holes filled: %d voxels", int(inside.sum()) - before)
    if not inside.any():
        raise InputError(
            f"--extend_inimask {options.extend_inimask:g}: nothing is left of {int(seed.sum())} "
            "voxels; choose a smaller number or a lower --ini_threshold"
        )
    mask = soft_edged(inside, options.width_soft_edge)
    if options.invert:
        mask = 1.0 - mask
    made = Density(mask, density.pixel_size_angst)
    write_density(options.o, made)
    _tell(options, seed, inside, made)
    return made


def _seed(options: MaskOptions, density: Density) -> NDArray[np.bool_]:
    volume = density.volume
    if options.lowpass > 0:
        volume = lowpassed(volume, density.pixel_size_angst, options.lowpass)
    threshold = options.ini_threshold
    if threshold is None:
        threshold = automatic_threshold(volume)
        log.info(
            "--ini_threshold %.6g was found in the map; give another one to change it", threshold
        )
    seed: NDArray[np.bool_] = volume >= threshold
    if seed.all() or not seed.any():
        raise InputError(
            f"--ini_threshold {threshold:.6g}: found {'all' if seed.all() else 'no'} voxels of "
            f"{options.i} at or above it, expected some; its densities are {volume.min():.6g} to "
            f"{volume.max():.6g} after the low-pass: choose a threshold between them"
        )
    return seed


def _tell(
    options: MaskOptions, seed: NDArray[np.bool_], inside: NDArray[np.bool_], mask: Density
) -> None:
    faces = [np.take(mask.volume, (0, -1), axis=axis) for axis in range(3)]
    if not options.invert and any(face.any() for face in faces):
        log.warning("%s: the mask reaches the border of the box", options.o)
    log.info(
        "%s: %d voxels at or above the threshold, %d inside (%.3g nm^3, %.2f %% of the box), "
        "edge of %g pixels", options.o, int(seed.sum()), int(inside.sum()),
        float(inside.sum()) * (mask.pixel_size_angst / 10.0) ** 3, 100.0 * float(inside.mean()),
        options.width_soft_edge,
    )  # fmt: skip
