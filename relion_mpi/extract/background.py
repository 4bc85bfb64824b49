"""What counts as background of an image: its pixels, its mean and deviation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.fourier.shells import radius_grid

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Background:
    """Pixels of square images beyond a radius; made once, used for all.

    Attributes
    ----------
    weight : float64 (n_pix,)
        1 on the background, else 0.
    n_pix
        Pixels of background.
    """

    weight: NDArray[np.float64]
    n_pix: int

    def mean(self, images: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean of each image's background.

        Parameters
        ----------
        images : float64 (n, n_pix of an image)

        Returns
        -------
        float64 (n,)
        """
        found: NDArray[np.float64] = images @ self.weight / self.n_pix
        return found

    def deviation(self, images: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the standard deviation of each image's background, about 0.

        Parameters
        ----------
        images : float64 (n, n_pix of an image)
            Background of mean 0.

        Returns
        -------
        float64 (n,)
        """
        found: NDArray[np.float64] = np.sqrt(np.square(images) @ self.weight / self.n_pix)
        return found


@lru_cache(maxsize=4)
def background(side: int, radius_pix: int) -> Background:
    """Find the pixels of background.

    Parameters
    ----------
    side
        Of the images, pixels.
    radius_pix
        Pixels further from the centre than this are background.

    Returns
    -------
    Background
    """
    outside = (radius_grid(side, 2) > radius_pix).ravel()
    return Background(outside.astype(np.float64), int(np.count_nonzero(outside)))
