"""Noise of a known spectrum, one stream of random numbers a particle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

from relion_mpi.fourier.shells import half_transform_radius, radius_grid
from relion_mpi.simulate.truth import NOISE

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Coloured noise: a white floor, and ice and carbon that are strong beyond about 20 Angstrom.
FLOOR = 0.4
LOW_POWER, LOW_ANGST = 6.0, 20.0
# RELION measures background outside of this share of the box's inner circle.
BACKGROUND_SHARE = 0.9


def noise_images(
    seed: int, rows: NDArray[np.int64], box_size: int, spectrum: NDArray[np.float64] | None
) -> NDArray[np.float32]:
    """Draw noise of unit variance.

    Parameters
    ----------
    seed
        Seed of the set.
    rows : int64 (n,)
        Particles; each has its own stream, so that batches may be cut anywhere.
    box_size
        Side in pixels.
    spectrum : float64 (box, box // 2 + 1) or None
        Amplitudes that colour the noise, as `coloured_amplitude` makes them; None for white noise.

    Returns
    -------
    float32 (n, box, box)
    """
    out = np.empty((rows.size, box_size, box_size), np.float32)
    for image, row in zip(out, rows.tolist(), strict=True):
        rng = np.random.Generator(np.random.SFC64((seed, NOISE, row)))
        rng.standard_normal(dtype=np.float32, out=image)
    if spectrum is None:
        return out
    transform = fft.rfft2(out) * spectrum.astype(np.float32)
    return np.asarray(fft.irfft2(transform, s=(box_size, box_size)), np.float32)


def coloured_amplitude(box_size: int, pixel_size_angst: float) -> NDArray[np.float64]:
    """Give the amplitude of coloured noise at each frequency.

    Parameters
    ----------
    box_size
        Side in pixels.
    pixel_size_angst
        Angstrom.

    Returns
    -------
    float64 (box, box // 2 + 1)
        Scaled so that white noise of unit variance keeps its variance.
    """
    s = half_transform_radius(box_size, 2) / (box_size * pixel_size_angst)
    power = FLOOR + LOW_POWER * np.exp(-0.5 * (s * LOW_ANGST) ** 2)
    twice = np.full(power.shape[1], 2.0)
    twice[[0, -1]] = 1.0
    mean = (power * twice).sum() / box_size**2
    return np.asarray(np.sqrt(power / mean))


def normalise(images: NDArray[np.float32]) -> None:
    """Bring each image's background to mean 0 and standard deviation 1, in place.

    Parameters
    ----------
    images : float32 (n, box, box)
        Background is what lies outside of 0.9 of the inner circle.
    """
    box_size = images.shape[-1]
    outside = radius_grid(box_size, 2) > BACKGROUND_SHARE * box_size / 2
    background = images[:, outside]
    mean = background.mean(axis=1, dtype=np.float64)
    deviation = background.std(axis=1, dtype=np.float64)
    images -= mean[:, None, None].astype(np.float32)
    images /= deviation[:, None, None].astype(np.float32)
