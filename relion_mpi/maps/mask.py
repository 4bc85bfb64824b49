"""From a binary mask to a grown one with a soft edge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray


def extended(inside: NDArray[np.bool_], extend_pix: float) -> NDArray[np.bool_]:
    """Grow or shrink a binary mask.

    Parameters
    ----------
    inside : bool (n, n, n)
    extend_pix
        Voxels nearer than this to the inside join it; negative: those nearer than this to the
        outside leave it.

    Returns
    -------
    bool (n, n, n)

    Source
    ------
    RELION mask.cpp, autoMask (its distances are strictly smaller, too).
    """
    if extend_pix > 0 and inside.any():
        return np.asarray(ndimage.distance_transform_edt(~inside) < extend_pix)
    if extend_pix < 0 and not inside.all():
        return np.asarray(ndimage.distance_transform_edt(inside) >= -extend_pix)
    return inside


def filled(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill the holes that have no way out through faces of voxels.

    Parameters
    ----------
    inside : bool (n, n, n)

    Returns
    -------
    bool (n, n, n)
    """
    return np.asarray(ndimage.binary_fill_holes(inside))


def soft_edged(inside: NDArray[np.bool_], edge_pix: float) -> NDArray[np.float32]:
    """Put a raised-cosine edge around a binary mask.

    Parameters
    ----------
    inside : bool (n, n, n)
    edge_pix
        Width; 0 gives no edge.

    Returns
    -------
    float32 (n, n, n)
        1 inside, 0.5 + 0.5 cos(pi d / edge_pix) at a distance d of less than edge_pix from it.

    Source
    ------
    RELION mask.cpp, autoMask.
    """
    mask = inside.astype(np.float32)
    if edge_pix <= 0 or not inside.any():
        return mask
    distance = ndimage.distance_transform_edt(~inside)
    edge = ~inside & (distance < edge_pix)
    mask[edge] = 0.5 + 0.5 * np.cos(np.pi / edge_pix * distance[edge])
    return mask
