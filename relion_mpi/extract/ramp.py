"""Planes fitted to the background of images."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.extract.background import background

if TYPE_CHECKING:
    from numpy.typing import NDArray


def subtract_ramp(images: NDArray[np.float64], side: int, radius_pix: int) -> None:
    """Subtract from each image the plane that fits its background best, in place.

    Parameters
    ----------
    images : float64 (n, side * side)
    side
        Of the images, pixels.
    radius_pix
        Background lies beyond.

    Source
    ------
    RELION normalise, by its output: least squares over x, y and a constant.
    """
    plane, fit = _planes(side, radius_pix)
    images -= (images @ fit) @ plane


@lru_cache(maxsize=4)
def _planes(side: int, radius_pix: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x, y and 1 (3, n_pix), and what gives their coefficients (n_pix, 3)."""
    axis = (np.arange(side) - side // 2) / side
    y, x = np.meshgrid(axis, axis, indexing="ij")
    plane = np.stack([x.ravel(), y.ravel(), np.ones(side * side)])
    weighted = plane * background(side, radius_pix).weight
    fit = np.linalg.solve(weighted @ plane.T, weighted).T
    return plane, np.ascontiguousarray(fit)
