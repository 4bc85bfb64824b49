"""Phases of higher-order aberrations: beam tilt and Zernike polynomials, in 1/Angstrom."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from relion_mpi.optics.ctf import ANGST_PER_MM

if TYPE_CHECKING:
    from collections.abc import Callable

Float64Array = NDArray[np.float64]


def phase_shift_of_beam_tilt(
    freq_x: ArrayLike,
    freq_y: ArrayLike,
    beam_tilt_mrad: tuple[float, float],
    wavelength_angst: float,
    spherical_aberration_mm: float,
) -> Float64Array:
    """Return the phase that axial coma adds to projections.

    Parameters
    ----------
    freq_x, freq_y
        float64 (n_pix,) 1/Angstrom.
    beam_tilt_mrad
        rlnBeamTiltX and rlnBeamTiltY, mrad.
    wavelength_angst
        Wavelength of the electrons, Angstrom.
    spherical_aberration_mm
        Spherical aberration, mm.

    Returns
    -------
    Float64Array
        float64 (n_pix,) radians phi: a projection is multiplied by exp(i phi), an image by exp(-i
        phi).

    Notes
    -----
    Source: Glaeser et al. 2011, J. Struct. Biol. 174, 1, equation 3; the sign is that of RELION's
    obs_model.cpp (demodulatePhase), checked with relion_reconstruct.
    """
    x, y = np.asarray(freq_x, np.float64), np.asarray(freq_y, np.float64)
    tilt_x, tilt_y = beam_tilt_mrad
    factor = -2.0 * math.pi * spherical_aberration_mm * ANGST_PER_MM * wavelength_angst**2 * 1e-3
    return np.asarray(factor * (x * x + y * y) * (x * tilt_x + y * tilt_y))


def even_zernike_gamma_offset(
    freq_x: ArrayLike, freq_y: ArrayLike, coefficients: ArrayLike
) -> Float64Array:
    """Return the phase that symmetric aberrations add to gamma of the contrast transfer function.

    Parameters
    ----------
    freq_x, freq_y
        float64 (n_pix,) 1/Angstrom.
    coefficients
        float64 (n,) rlnEvenZernike, radians.

    Returns
    -------
    Float64Array
        float64 (n_pix,) radians, the `gamma_offset` of `relion_mpi.optics.ctf.ctf`.

    Notes
    -----
    Source: Zivanov et al. 2020, IUCrJ 7, 253, equations 8 to 10; RELION's order of (m, n).
    """
    return _zernike_sum(freq_x, freq_y, coefficients, _even_indices)


def odd_zernike_phase(
    freq_x: ArrayLike, freq_y: ArrayLike, coefficients: ArrayLike
) -> Float64Array:
    """Return the phase that antisymmetric aberrations add to projections.

    Parameters
    ----------
    freq_x, freq_y
        float64 (n_pix,) 1/Angstrom.
    coefficients
        float64 (n,) rlnOddZernike, radians.

    Returns
    -------
    Float64Array
        float64 (n_pix,) radians phi: a projection is multiplied by exp(i phi), an image by exp(-i
        phi).

    Notes
    -----
    Source: as `even_zernike_gamma_offset`.
    """
    return _zernike_sum(freq_x, freq_y, coefficients, _odd_indices)


def _even_indices(i: int) -> tuple[int, int]:
    """Return (m, n) of the i-th symmetric polynomial: n = 0, 2, ..., m = -n, -n + 2, ..., n."""
    k = math.isqrt(i)
    return 2 * (i - k * k - k), 2 * k


def _odd_indices(i: int) -> tuple[int, int]:
    """Return (m, n) of the i-th antisymmetric polynomial: n = 1, 3, 5, ..., m as above."""
    k = (math.isqrt(1 + 4 * i) - 1) // 2
    n = 2 * k + 1
    return 2 * (i - k * (k + 1)) - n, n


def _radial(m: int, n: int, radius: Float64Array) -> Float64Array:
    """Return the radial polynomial R(m, n), for m >= 0 and n - m even."""
    total = np.zeros_like(radius)
    for k in range((n - m) // 2 + 1):
        factor = math.factorial(n - k) // (
            math.factorial(k) * math.factorial((n + m) // 2 - k) * math.factorial((n - m) // 2 - k)
        )
        total += (-1) ** k * factor * radius ** (n - 2 * k)
    return total


def _zernike_sum(
    freq_x: ArrayLike,
    freq_y: ArrayLike,
    coefficients: ArrayLike,
    indices: Callable[[int], tuple[int, int]],
) -> Float64Array:
    x, y = np.asarray(freq_x, np.float64), np.asarray(freq_y, np.float64)
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    total = np.zeros_like(radius)
    for i, coefficient in enumerate(np.asarray(coefficients, np.float64)):
        m, n = indices(i)
        wave = np.cos(m * angle) if m >= 0 else np.sin(-m * angle)
        total += coefficient * _radial(abs(m), n, radius) * wave
    return total
