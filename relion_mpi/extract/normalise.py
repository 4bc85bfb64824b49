"""Images whose background has mean 0 and standard deviation 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.extract.background import background
from relion_mpi.extract.dust import remove_dust
from relion_mpi.extract.ramp import subtract_ramp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SMALLEST_DEVIATION = 1e-10
"""Images with less are not divided by it, as in RELION."""


def normalise(
    images: NDArray[np.float32],
    radius_pix: int,
    keys: Sequence[tuple[int, int]],
    *,
    dust: tuple[float, float] = (-1.0, -1.0),
    ramp: bool = True,
) -> NDArray[np.bool_]:
    """Normalise images by their background, in place.

    Parameters
    ----------
    images : float32 (n, side, side)
    radius_pix
        Background lies beyond.
    keys
        Seeds for dust, one an image.
    dust
        Deviations above and below the mean beyond which pixels are replaced, if above 0.
    ramp
        Subtract a plane fitted to the background; else its mean.

    Returns
    -------
    bool (n,)
        Images whose background is constant: only their mean or plane is subtracted.

    Source
    ------
    RELION normalise, by its output: mean and deviation, then dust, then the ramp, then both again.
    """
    n, side = images.shape[:2]
    outside = background(side, radius_pix)
    pixels = images.reshape(n, -1).astype(np.float64)
    pixels -= outside.mean(pixels)[:, None]
    if max(dust) > 0:
        remove_dust(pixels, outside.deviation(pixels), dust, keys)
        pixels -= outside.mean(pixels)[:, None]
    if ramp:
        subtract_ramp(pixels, side, radius_pix)
    deviation = outside.deviation(pixels)
    flat = deviation < SMALLEST_DEVIATION
    deviation[flat] = 1.0
    pixels /= deviation[:, None]
    images[:] = pixels.reshape(images.shape)
    return flat
