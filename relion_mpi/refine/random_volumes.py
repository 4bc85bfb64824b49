"""Volumes to begin with where there is no reference: blobs at random places."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_BLOBS = 24
REACH = 0.6
"""Largest distance of a blob from the centre, in radii of the particle."""
WIDTH = 0.14
"""Standard deviation of a blob, in radii of the particle."""
ORDER = 7
"""Of the random numbers of this module among those of a run."""


def random_volumes(
    n_class: int, box_size: int, pixel_size_angst: float, diameter_angst: float, random_seed: int
) -> NDArray[np.float64]:
    """Make a volume of Gaussian blobs for each class.

    Parameters
    ----------
    n_class, box_size
        How many, and their side in pixels.
    pixel_size_angst
        Angstrom.
    diameter_angst
        Of the particle.
    random_seed
        Of the run.

    Returns
    -------
    float64 (n_class, box_size, box_size, box_size)
        Their height is 1: they say nothing of the grey scale.
    """
    rng = np.random.default_rng([random_seed, ORDER])
    radius_pix = diameter_angst / 2 / pixel_size_angst
    axis = np.arange(box_size) - box_size // 2
    volumes = np.zeros((n_class, box_size, box_size, box_size))
    for volume in volumes:
        for _ in range(N_BLOBS):
            direction = rng.standard_normal(3)
            distance = REACH * radius_pix * rng.random() ** (1 / 3)
            centre = direction / np.linalg.norm(direction) * distance
            z, y, x = np.exp(-0.5 * ((axis - centre[:, None]) / (WIDTH * radius_pix)) ** 2)
            volume += z[:, None, None] * y[:, None] * x
    return volumes
