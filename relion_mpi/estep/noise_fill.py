"""Noise that replaces the solvent around particles when they are not masked with zeros."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def noise_images(
    sigma2_noise: NDArray[np.float64],
    power_shell: NDArray[np.int32],
    particle: NDArray[np.int64],
    seed: Sequence[int],
) -> NDArray[np.float32]:
    """Draw one image of coloured noise per particle.

    Parameters
    ----------
    sigma2_noise : float64 (n_shell,)
        Variance per component of a transform divided by the number of pixels.
    power_shell : int32 (box, box // 2 + 1)
        Shell of each coefficient, -1 for none.
    particle : int64 (n,)
        Row of each particle; with `seed` it decides the noise, whatever the batch or rank.
    seed
        Integers, for example (random seed, iteration).

    Returns
    -------
    float32 (n, box, box)

    Source
    ------
    RELION softMaskOutsideMap with a noise image.
    """
    box = power_shell.shape[0]
    amplitude = np.where(power_shell >= 0, np.sqrt(sigma2_noise[power_shell]), 0.0) * box**2
    out = np.empty((particle.size, box, box), np.float32)
    for i, row in enumerate(particle):
        rng = np.random.default_rng([*seed, int(row)])
        parts = rng.standard_normal((2, *power_shell.shape))
        out[i] = fft.irfft2(amplitude * (parts[0] + 1j * parts[1]), s=(box, box))
    return out
