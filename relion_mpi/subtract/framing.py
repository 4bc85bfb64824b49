"""Particles brought to another centre and another box."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.fourier.shells import round_half_away
from relion_mpi.geometry.euler import euler_to_matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray


def centre_of_mass(mask: NDArray[np.floating[Any]]) -> tuple[float, float, float]:
    """Return the centre of mass of a map of (z, y, x), as (x, y, z) voxels from its centre."""
    total = float(mask.sum(dtype=np.float64))
    places = []
    for axis, n in enumerate(mask.shape):
        others = tuple(i for i in range(3) if i != axis)
        profile = mask.sum(axis=others, dtype=np.float64)
        places.append(float(profile @ (np.arange(n) - n // 2)) / total)
    z, y, x = places
    return x, y, z


def recentred_offsets(
    euler_deg: NDArray[np.float64],
    origin_angst: NDArray[np.float64],
    point_angst: NDArray[np.float64],
    pixel_size_angst: float,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find how far images move to bring a point of the map to their centres, and what is left.

    Parameters
    ----------
    euler_deg : float64 (n, 3)
    origin_angst : float64 (n, 2)
        Offsets as they are.
    point_angst : float64 (3,)
        (x, y, z) from the centre of the map.
    pixel_size_angst
        Of the images.

    Returns
    -------
    moved : int64 (n, 2)
        Whole pixels, (x, y).
    origin_angst : float64 (n, 2)
        New offsets, less than a pixel.

    Notes
    -----
    Source: RELION particle_subtractor.cpp, subtractOneParticle.
    """
    seen = (euler_to_matrix(*euler_deg.T) @ point_angst)[:, :2]
    wanted = origin_angst - seen
    moved = round_half_away(wanted / pixel_size_angst)
    return moved, wanted - moved * pixel_size_angst


def moved_images(
    images: NDArray[np.floating[Any]], moved: NDArray[np.int64]
) -> NDArray[np.floating[Any]]:
    """Move images (n, box, box) by whole pixels (x, y); what leaves comes in opposite.

    The noise of the rim stays noise, which zeros would not be.
    """
    return np.stack([
        np.roll(image, (int(dy), int(dx)), (0, 1))
        for image, (dx, dy) in zip(images, moved, strict=True)
    ])  # fmt: skip


def boxed(images: NDArray[np.floating[Any]], side: int) -> NDArray[np.floating[Any]]:
    """Crop images (n, box, box), or pad them with zeros, about their centres."""
    box = images.shape[1]
    if side == box:
        return images
    if side < box:
        first = box // 2 - side // 2
        return images[:, first : first + side, first : first + side]
    padded = np.zeros((images.shape[0], side, side), images.dtype)
    first = side // 2 - box // 2
    padded[:, first : first + box, first : first + box] = images
    return padded
