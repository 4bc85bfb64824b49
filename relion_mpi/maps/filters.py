"""Filters of a map in Fourier space, with RELION's rounding of shells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

from relion_mpi.fourier.masks import lowpass_profile
from relion_mpi.fourier.shells import half_transform_radius, shell_of_frequency

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def lowpassed(
    volume: NDArray[np.floating], pixel_size_angst: float, resolution_angst: float
) -> NDArray[np.float64]:
    """Low-pass a map at the shell nearest to a resolution.

    Parameters
    ----------
    volume : float (n, n, n)
    pixel_size_angst, resolution_angst
        Angstrom.

    Returns
    -------
    float64 (n, n, n)
        Edge: a raised cosine of two shells.

    Source
    ------
    RELION fftw.cpp, lowPassFilterMap; `relion_mpi.fourier.masks.lowpass` does not round the shell.
    """
    shell = shell_of_frequency(resolution_angst, volume.shape[0], pixel_size_angst)
    return _filtered(volume, lambda radius: lowpass_profile(radius, shell))


def highpassed(
    volume: NDArray[np.floating], pixel_size_angst: float, resolution_angst: float
) -> NDArray[np.float64]:
    """High-pass a map at the shell nearest to a resolution; what `lowpassed` leaves out.

    Parameters
    ----------
    volume : float (n, n, n)
    pixel_size_angst, resolution_angst
        Angstrom.

    Returns
    -------
    float64 (n, n, n)

    Source
    ------
    RELION fftw.cpp, highPassFilterMap.
    """
    shell = shell_of_frequency(resolution_angst, volume.shape[0], pixel_size_angst)
    return _filtered(volume, lambda radius: 1.0 - lowpass_profile(radius, shell))


def with_bfactor(
    volume: NDArray[np.floating], pixel_size_angst: float, bfactor_angst2: float
) -> NDArray[np.float64]:
    """Multiply the transform by exp(-B/4 s^2) up to Nyquist, by 0 in the corners beyond.

    Parameters
    ----------
    volume : float (n, n, n)
    pixel_size_angst
        Angstrom.
    bfactor_angst2
        Square Angstrom; negative sharpens.

    Returns
    -------
    float64 (n, n, n)

    Source
    ------
    RELION fftw.cpp, applyBFactorToMap.
    """
    n = volume.shape[0]

    def weight(radius: NDArray[np.float64]) -> NDArray[np.float64]:
        decay = np.exp(-bfactor_angst2 / 4.0 * (radius / (n * pixel_size_angst)) ** 2)
        return np.where(radius <= n / 2, decay, 0.0)

    return _filtered(volume, weight)


def _filtered(
    volume: NDArray[np.floating], weight: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> NDArray[np.float64]:
    transform = fft.rfftn(np.asarray(volume, dtype=np.float64), workers=-1)
    transform *= weight(half_transform_radius(volume.shape[0], volume.ndim))
    out: NDArray[np.float64] = fft.irfftn(transform, s=volume.shape, workers=-1)
    return out
