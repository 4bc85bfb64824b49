"""Reading references: stacks of averages, STAR files that name them, and maps."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from scipy import fft

from relion_mpi.backend import select_backend
from relion_mpi.backend.protocol import ImageGeometry
from relion_mpi.core.errors import InputError
from relion_mpi.fourier.resample import resample
from relion_mpi.fourier.shells import half_transform_shells, pixel_list
from relion_mpi.geometry.symmetry import point_group
from relion_mpi.io.mrc import read_map
from relion_mpi.io.star import read_star
from relion_mpi.sampling.orientations import make_orientation_grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

NAMES = ("rlnReferenceImage", "rlnImageName")
RIGHT_SIZE = 1e-3
"""Difference of pixel sizes, in Angstrom, that is none."""


def read_references(
    path: Path, healpix_order: int, symmetry: str, pixel_size_angst: float, ref_angst: float
) -> NDArray[np.float32]:
    """Read templates and put them on the micrographs' pixel size.

    Parameters
    ----------
    path
        `.mrcs` or `.mrc` stack, `.star` of references, or a map in a cube.
    healpix_order, symmetry
        Directions in which a map is projected.
    pixel_size_angst
        Of the micrographs, Angstrom.
    ref_angst
        Of the references; 0 reads their header.

    Returns
    -------
    float32 (n, box, box)
        Box even.

    Raises
    ------
    InputError
        They cannot be read, are not square or not finite, or have no pixel size.
    """
    images, header_angst = _read(path)
    if images.shape[1] != images.shape[2] or images.shape[1] < 8:
        raise InputError(
            f"{path}: found references of {images.shape[2]} x {images.shape[1]} pixels, expected "
            "squares of at least 8"
        )
    if not np.isfinite(images).all():
        raise InputError(f"{path}: found values that are not finite; make the references again")
    own_angst = ref_angst or header_angst
    if own_angst <= 0:
        log.warning("%s: the header has no pixel size; that of the micrographs is used", path)
        own_angst = pixel_size_angst
    # A stack of as many images as they have pixels would be a map to RELION, too.
    if images.shape[0] == images.shape[1] and path.suffix != ".mrcs":
        images = projections(images, healpix_order, symmetry)
        log.info("%s: projected in %d directions", path, len(images))
    box = images.shape[1]
    if abs(own_angst - pixel_size_angst) <= RIGHT_SIZE and box % 2 == 0:
        return images
    new = 2 * max(round(box * own_angst / pixel_size_angst / 2), 4)
    return np.stack([resample(one, own_angst, new, pixel_size_angst) for one in images])


def projections(volume: NDArray[np.float32], order: int, symmetry: str) -> NDArray[np.float32]:
    """Project a map in the directions of a HEALPix grid.

    Parameters
    ----------
    volume : float32 (n, n, n), n even
    order
        HEALPix order.
    symmetry
        Point group, of whose equivalent directions one is taken.

    Returns
    -------
    float32 (n_dir, n, n)
    """
    box = volume.shape[0]
    if box % 2:
        raise InputError(f"--ref: found a map of {box} voxels a side, expected an even number")
    matrices = make_orientation_grid(order, point_group(symmetry)).coarse_directions()
    pixels = pixel_list(box, box // 2 - 0.001)
    unused = np.zeros(pixels.n_pix)
    geometry = ImageGeometry(
        box, pixels.x, pixels.y, pixels.x.astype(np.float64), pixels.y.astype(np.float64),
        unused.astype(np.int32), pixels.n_pix, box // 2 + 1, half_transform_shells(box), unused,
        unused,
    )  # fmt: skip
    backend = select_backend("cpu", "float32")
    references = backend.load_references(volume[None], box // 2, 2)
    values = backend.project(references, matrices, geometry)
    half = np.zeros((len(matrices), box, box // 2 + 1), np.complex64)
    half[:, pixels.y, pixels.x] = values
    mates = (pixels.x == 0) & (pixels.y > 0)
    half[:, -pixels.y[mates], 0] = values[:, mates].conj()
    images = fft.irfft2(half, s=(box, box), norm="forward")
    return np.ascontiguousarray(fft.fftshift(images, axes=(1, 2)), np.float32)


def _read(path: Path) -> tuple[NDArray[np.float32], float]:
    if path.suffix != ".star":
        return read_map(path)
    blocks = read_star(path)
    tables = [one for one in blocks.values() if isinstance(one, pl.DataFrame)]
    found = [(one, name) for one in tables for name in NAMES if name in one.columns]
    if not found:
        raise InputError(
            f"{path}: found no {' or '.join(NAMES)}, expected a table of references such as a "
            "model.star or a selection of classes"
        )
    table, name = found[0]
    images, sizes = [], []
    for entry in table[name].cast(pl.String):
        number, _, file = entry.rpartition("@")
        where = Path(file)
        stack, pixel_size = read_map(where if where.exists() else path.parent / where.name)
        sizes.append(pixel_size)
        index = int(number) - 1 if number.isdigit() else 0
        if index >= len(stack):
            raise InputError(f"{path}: found {entry}, but the stack has {len(stack)} images")
        images.append(stack[index])
    if len({one.shape for one in images}) > 1:
        raise InputError(f"{path}: found references of different sizes, expected one size")
    return np.stack(images), sizes[0]
