"""FSC of masked half-maps, corrected for what the mask itself correlates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

from relion_mpi.fourier.correlation import fourier_shell_correlation
from relion_mpi.fourier.phase_randomisation import randomise_phases

if TYPE_CHECKING:
    from numpy.typing import NDArray

RANDOMISE_BELOW_FSC = 0.8


def solvent_corrected_fsc(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    mask: NDArray[np.float64],
    seed: int,
) -> NDArray[np.float64]:
    """Correct the FSC of masked half-maps by phase randomisation.

    Parameters
    ----------
    first, second : float64 (n, n, n) unregularised, unmasked half-maps
    mask : float64 (n, n, n) in 0..1
    seed
        Of the random phases.

    Returns
    -------
    float64 (n // 2 + 1,)
        The unmasked FSC if it never falls below 0.8.

    Source
    ------
    Chen et al. 2013, Ultramicroscopy 135:24; RELION
    reconstructUnregularisedMapAndCalculateSolventCorrectedFSC.
    """
    unmasked = fourier_shell_correlation(first, second)
    below = np.flatnonzero(unmasked[1:] < RANDOMISE_BELOW_FSC)
    if below.size == 0:
        return unmasked
    start = int(below[0]) + 1
    rng = np.random.default_rng(seed)
    masked = fourier_shell_correlation(first * mask, second * mask)
    noise = [_randomised(half, start, rng) * mask for half in (first, second)]
    random = fourier_shell_correlation(noise[0], noise[1])
    corrected = np.where(random > masked, 0.0, (masked - random) / np.maximum(1.0 - random, 1e-12))
    corrected[: start + 2] = masked[: start + 2]
    return corrected


def _randomised(
    volume: NDArray[np.float64], first_shell: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Give a map random phases from a shell on."""
    transform = fft.rfftn(volume, workers=-1)
    randomise_phases(transform, first_shell, rng)
    changed: NDArray[np.float64] = fft.irfftn(
        transform, s=volume.shape, workers=-1, overwrite_x=True
    )
    return changed
