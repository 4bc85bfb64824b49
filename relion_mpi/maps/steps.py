"""The operations of `relion-mpi map`, each with its option, in the order in which they are done."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.compare.align import align, moved
from relion_mpi.core.errors import InputError
from relion_mpi.fourier.resample import PIXEL_SIZE_TOLERANCE, fourier_resized, resample, windowed
from relion_mpi.geometry.euler import matrix_to_euler
from relion_mpi.geometry.symmetry import point_group
from relion_mpi.maps.align_symmetry import align_symmetry
from relion_mpi.maps.files import Density, read_density
from relion_mpi.maps.filters import highpassed, lowpassed, with_bfactor
from relion_mpi.maps.operations import (
    centre_of_mass,
    even_side,
    other_hand,
    shifted,
    symmetrised,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from relion_mpi.compare.align import Alignment
    from relion_mpi.maps.map_options import MapOptions

log = logging.getLogger(__name__)

LOW_CORRELATION = 0.9
RESCALE_WARNING = 1e-3


def _density(density: Density, options: MapOptions) -> Density:
    """Scale and filter; these commute."""
    volume, pixel = density.volume, density.pixel_size_angst
    if options.multiply_constant != 1:
        volume = volume.astype(np.float64) * options.multiply_constant
    if options.bfactor != 0:
        volume = with_bfactor(volume, pixel, options.bfactor)
    if options.lowpass > 0:
        volume = lowpassed(volume, pixel, options.lowpass)
    if options.highpass > 0:
        volume = highpassed(volume, pixel, options.highpass)
    return dataclasses.replace(density, volume=volume)


def _hand(density: Density, options: MapOptions) -> Density:
    if not options.invert_hand:
        return density
    return dataclasses.replace(density, volume=other_hand(density.volume))


def _shift(density: Density, options: MapOptions) -> Density:
    given = (options.shift_x, options.shift_y, options.shift_z)
    if options.shift_com:
        if any(given):
            raise InputError(
                "--shift_com: found --shift_x, --shift_y or --shift_z with it, expected one way to "
                "shift; run twice to do both"
            )
        x, y, z = (-float(c) for c in centre_of_mass(density.volume))
        log.info("the centre of mass was at x %.3f y %.3f z %.3f pixels", -x, -y, -z)
        given = (x, y, z)
    if not any(given):
        return density
    return dataclasses.replace(density, volume=shifted(density.volume, given))


def _grid(density: Density, options: MapOptions) -> Density:
    volume, pixel = density.volume, density.pixel_size_angst
    if options.rescale_angpix > 0:
        _check_even(density, options.i, "--rescale_angpix")
        side = even_side(density.box_size, pixel / options.rescale_angpix)
        volume, pixel = fourier_resized(volume, side), pixel * density.box_size / side
        if abs(pixel / options.rescale_angpix - 1.0) > RESCALE_WARNING:
            log.warning(
                "--rescale_angpix %g: a box of even side has %d voxels of %.6g A; this is in the "
                "header", options.rescale_angpix, side, pixel,
            )  # fmt: skip
    if options.new_box > 0:
        volume = windowed(volume, options.new_box)
    return Density(volume, pixel)


def _axes(density: Density, options: MapOptions) -> Density:
    if options.align_symmetry is None:
        return density
    group = point_group(options.align_symmetry)
    if group.n_ops == 1:
        raise InputError("--align_symmetry C1: found no axes, expected C2 or higher")
    _check_even(density, options.i, "--align_symmetry")
    fit = align_symmetry(density.volume, density.pixel_size_angst, group, options.keep_centre)
    _tell(f"--align_symmetry {group.name}", fit.alignment)
    log.info("the map and its other copies under %s correlate by %.4f", group.name, fit.correlation)
    if fit.correlation < LOW_CORRELATION:
        log.warning("the map may not have the symmetry %s: look at it", group.name)
    return _moved(density, fit.alignment)


def _onto(density: Density, options: MapOptions) -> Density:
    if options.align_to is None:
        return density
    _check_even(density, options.i, "--align_to")
    target, pixel = read_density(options.align_to, -1.0), density.pixel_size_angst
    n = density.box_size
    wanted = target.volume
    if target.box_size != n or abs(target.pixel_size_angst / pixel - 1.0) > PIXEL_SIZE_TOLERANCE:
        wanted = resample(target.volume, target.pixel_size_angst, n, pixel)
    alignment = align(wanted, density.volume, pixel, search=True)
    _tell(f"--align_to {options.align_to}", alignment)
    return _moved(density, alignment)


def _symmetry(density: Density, options: MapOptions) -> Density:
    if options.sym is None:
        return density
    return dataclasses.replace(
        density, volume=symmetrised(density.volume, point_group(options.sym))
    )


STEPS: tuple[Callable[[Density, MapOptions], Density], ...] = (
    _density, _hand, _shift, _grid, _axes, _onto, _symmetry,
)  # fmt: skip


def _check_even(density: Density, path: Path, flag: str) -> None:
    if density.box_size % 2:
        raise InputError(
            f"{path}: found a box of {density.box_size} voxels, expected an even side for {flag}; "
            "change it with --new_box first"
        )


def _moved(density: Density, alignment: Alignment) -> Density:
    volume: NDArray[np.float32] = moved(density.volume, density.pixel_size_angst, alignment)
    return dataclasses.replace(density, volume=volume)


def _tell(what: str, alignment: Alignment) -> None:
    rot, tilt, psi = matrix_to_euler(alignment.rotation)[0]
    x, y, z = alignment.translation_angst
    log.info(
        "%s: rot %.3f tilt %.3f psi %.3f degrees, then x %.3f y %.3f z %.3f A%s", what, rot, tilt,
        psi, x, y, z, ", then the other hand (z becomes -z)" if alignment.mirrored else "",
    )  # fmt: skip
