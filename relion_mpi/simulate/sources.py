"""Where the true maps come from: files, models or the made-up protein."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft, ndimage

from relion_mpi.atoms.models import read_model
from relion_mpi.atoms.scatterers import Scatterers, density, replicated
from relion_mpi.core.errors import InputError
from relion_mpi.fourier.resample import resample
from relion_mpi.fourier.shells import half_transform_radius
from relion_mpi.geometry.symmetry import PointGroup, point_group
from relion_mpi.io.mrc import read_map
from relion_mpi.simulate.protein import made_up_protein

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from relion_mpi.simulate.options import SimulateOptions

log = logging.getLogger(__name__)

LARGEST_SHARE_OF_BOX = 0.5


def true_maps(options: SimulateOptions) -> list[NDArray[np.float32]]:
    """Make the maps to be projected, one a class, on the grid of the particles.

    Parameters
    ----------
    options
        Source, symmetry, box, pixel size and B-factor are used.

    Returns
    -------
    list of float32 (box, box, box)
        Arbitrary grey scale.

    Raises
    ------
    InputError
        A source is missing, unreadable or empty, or both kinds are given.
    """
    if options.map and options.model:
        raise InputError("--map and --model are both given; keep one of them")
    group = point_group(options.sym)
    if options.map:
        maps = [_from_file(path, options, group) for path in options.map]
    elif options.model:
        maps = [_from_model(path, options, group) for path in options.model]
    else:
        log.info("source: the made-up protein, %s", group.name)
        maps = [_from_scatterers(made_up_protein(group), options, "the made-up protein")]
    if options.bfactor > 0:
        maps = [_decayed(one, options.angpix, options.bfactor) for one in maps]
    return maps


def symmetrised(volume: NDArray[np.float32], group: PointGroup) -> NDArray[np.float32]:
    """Average a map over its rotations by a point group.

    Parameters
    ----------
    volume : float32 (n, n, n)
    group
        Operators about the centre voxel n // 2.

    Returns
    -------
    float32 (n, n, n)
    """
    if group.n_ops == 1:
        return volume
    centre = np.full(3, volume.shape[0] // 2, np.float64)
    coefficients = ndimage.spline_filter(volume, order=3, output=np.float32)
    total = volume.astype(np.float64)
    for operator in group.operators[1:]:
        # The map turned by R has at p what the map has at R^T p; arrays count (z, y, x).
        back = operator.T[::-1, ::-1]
        total += ndimage.affine_transform(
            coefficients, back, offset=centre - back @ centre, order=3, prefilter=False,
            output=np.float32,
        )  # fmt: skip
    return (total / group.n_ops).astype(np.float32)


def _from_file(path: Path, options: SimulateOptions, group: PointGroup) -> NDArray[np.float32]:
    volume, pixel_size = read_map(path)
    if len(set(volume.shape)) != 1:
        raise InputError(f"--map {path}: found {volume.shape} voxels, expected a cube")
    if not np.isfinite(volume).all() or float(volume.std()) == 0.0:
        raise InputError(f"--map {path}: the map is constant or not finite; give another one")
    if pixel_size <= 0:
        log.warning("%s: the header has no pixel size; --angpix %g is used", path, options.angpix)
        pixel_size = options.angpix
    log.info("source: %s, %d voxels of %.4g A", path, volume.shape[0], pixel_size)
    placed = resample(volume, pixel_size, options.box, options.angpix)
    if group.n_ops > 1:
        log.info("%s: symmetrised to %s", path, group.name)
    return symmetrised(placed, group)


def _from_model(path: Path, options: SimulateOptions, group: PointGroup) -> NDArray[np.float32]:
    scatterers = read_model(path)
    if group.n_ops > 1:
        log.info("%s: symmetrised to %s", path, group.name)
        scatterers = replicated(scatterers, group.operators)
    return _from_scatterers(scatterers, options, str(path))


def _from_scatterers(
    scatterers: Scatterers, options: SimulateOptions, name: str
) -> NDArray[np.float32]:
    share = scatterers.radius_angst / (options.box * options.angpix)
    if share > LARGEST_SHARE_OF_BOX:
        log.warning(
            "%s is %.0f A across, the box %.0f A: parts wrap around; raise --box or --angpix",
            name, 2 * scatterers.radius_angst, options.box * options.angpix,
        )  # fmt: skip
    return density(scatterers, options.box, options.angpix)


def _decayed(
    volume: NDArray[np.float32], pixel_size_angst: float, bfactor_angst2: float
) -> NDArray[np.float32]:
    s2 = (half_transform_radius(volume.shape[0], 3) / (volume.shape[0] * pixel_size_angst)) ** 2
    transform = fft.rfftn(volume, workers=-1) * np.exp(-0.25 * bfactor_angst2 * s2)
    return np.asarray(fft.irfftn(transform, s=volume.shape, workers=-1), np.float32)
