"""Operations on the grid of a map: hand, shifts, resampling, symmetry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.geometry.symmetry import PointGroup


def other_hand(volume: NDArray[np.floating]) -> NDArray[np.floating]:
    """Mirror a map: x becomes -x about the centre voxel, the first plane stays where it is.

    Parameters
    ----------
    volume : float (n, n, n)

    Returns
    -------
    float (n, n, n)
        Twice is the identity.

    Source
    ------
    RELION image_handler.cpp, --invert_hand.
    """
    n = volume.shape[2]
    return volume[:, :, (2 * (n // 2) - np.arange(n)) % n]


def shifted(
    volume: NDArray[np.floating], shift_pix: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Shift the content of a map, linearly interpolated; what comes in is 0.

    Parameters
    ----------
    volume : float (n, n, n)
    shift_pix
        (x, y, z).

    Returns
    -------
    float64 (n, n, n)

    Source
    ------
    RELION transformations.h, selfTranslate without wrapping.
    """
    return np.asarray(
        ndimage.shift(volume.astype(np.float64, copy=False), shift_pix[::-1], order=1)
    )


def centre_of_mass(weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """Locate the centre of mass of the positive voxels.

    Parameters
    ----------
    weights : float (n, n, n)

    Returns
    -------
    float64 (3,) (x, y, z) pixels from the centre voxel
        Zeros where no voxel is positive.

    Source
    ------
    RELION multidim_array.h, centerOfMass.
    """
    mass = np.maximum(weights, 0.0).astype(np.float64)
    total = mass.sum()
    if total <= 0:
        return np.zeros(3)
    axis = np.arange(mass.shape[0]) - mass.shape[0] // 2
    profiles = (mass.sum(axis=(0, 1)), mass.sum(axis=(0, 2)), mass.sum(axis=(1, 2)))
    return np.array([float(axis @ profile) / total for profile in profiles])


def even_side(box_size: int, ratio: float) -> int:
    """Return the even side of a box that is resampled.

    Parameters
    ----------
    box_size
        Side before.
    ratio
        Old pixel size over the new one.

    Returns
    -------
    int
        The nearest whole number, or the one below it where that is odd; at least 2.

    Source
    ------
    RELION image_handler.cpp, --rescale_angpix.
    """
    side = int(np.floor(box_size * ratio + 0.5))
    return max(side - side % 2, 2)


def symmetrised(volume: NDArray[np.floating], group: PointGroup) -> NDArray[np.float64]:
    """Average a map over a point group, linearly interpolated.

    Parameters
    ----------
    volume : float (n, n, n)
    group
        Point group with RELION's axes.

    Returns
    -------
    float64 (n, n, n)
        Copies count as 0 where they are turned out of the box.

    Source
    ------
    RELION symmetries.cpp, symmetriseMap.
    """
    source = volume.astype(np.float64, copy=False)
    total = source.copy()
    centre = np.full(3, volume.shape[0] // 2, np.float64)
    for operator in group.operators[1:]:
        turn = operator[::-1, ::-1]  # arrays count (z, y, x)
        total += ndimage.affine_transform(source, turn, offset=centre - turn @ centre, order=1)
    return np.asarray(total / group.n_ops)
