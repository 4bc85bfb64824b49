"""Pixels far from the background's mean, replaced by noise like it."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def remove_dust(
    images: NDArray[np.float64],
    deviation: NDArray[np.float64],
    limits: tuple[float, float],
    keys: Sequence[tuple[int, int]],
) -> None:
    """Replace pixels beyond the limits by draws from the background's distribution, in place.

    Parameters
    ----------
    images : float64 (n, n_pix)
        With a background of mean 0, from which no plane is subtracted yet.
    deviation : float64 (n,)
        Of each image's background.
    limits
        Deviations above and below the mean; one that is not above 0 does not count.
    keys
        What makes each image's random numbers its own, as `key` returns.

    Source
    ------
    RELION normalise, by its output: pixels within the circle count too, and mean and deviation are
    those of before. It draws all images' numbers from one stream.
    """
    white, black = limits
    for image, sigma, seed in zip(images, deviation, keys, strict=True):
        dust = np.zeros(image.shape, np.bool_)
        if white > 0:
            dust |= image > white * sigma
        if black > 0:
            dust |= image < -black * sigma
        places = np.flatnonzero(dust)
        if places.size:
            image[places] = np.random.default_rng(seed).normal(0.0, sigma, places.size)


def key(micrograph: str, row: int) -> tuple[int, int]:
    """Return what seeds the random numbers of a particle.

    Parameters
    ----------
    micrograph
        Its name.
    row
        Which of its particles, from 0.

    Returns
    -------
    tuple of int
        The same in every run, whatever else is extracted.
    """
    return zlib.crc32(micrograph.encode()), row
