"""Shift class averages to the centre of the box."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def centred(
    image: NDArray[np.float64], mask: NDArray[np.float64], max_shift_pix: float
) -> NDArray[np.float64]:
    """Shift an image so that the centre of mass of its positive part is the box's centre.

    Parameters
    ----------
    image : float64 (box, box)
    mask : float64 (box, box), 0 to 1
        Weighs pixels where the mass is measured.
    max_shift_pix
        Longest shift along each axis.

    Returns
    -------
    float64 (box, box)
        Shifted by whole pixels; what comes in at an edge is 0.

    Source
    ------
    RELION 5 MlOptimiser::centerClasses.
    """
    mass = np.maximum(image, 0.0) * mask
    total = float(mass.sum())
    if not total > 0:
        return image
    axis = np.arange(image.shape[0]) - image.shape[0] // 2
    found = np.array([mass.sum(axis=1) @ axis, mass.sum(axis=0) @ axis]) / total
    down, right = np.round(np.clip(found, -max_shift_pix, max_shift_pix)).astype(int)
    out = np.zeros_like(image)
    n_y, n_x = image.shape
    out[max(-down, 0) : n_y - max(down, 0), max(-right, 0) : n_x - max(right, 0)] = image[
        max(down, 0) : n_y - max(-down, 0), max(right, 0) : n_x - max(-right, 0)
    ]
    return out
