"""The contrast transfer function: the formula that every kernel must agree with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64Array = NDArray[np.float64]

ANGST_PER_MM = 1e7
# Divisions by the CTF must not blow up: RELION replaces smaller values by this, keeping the sign.
SMALLEST_VALUE = 1e-8


@dataclass(frozen=True, slots=True, eq=False)
class CtfParameters:
    """Parameters of images, each float64 (n_img,); underfocus is positive, U along the angle."""

    defocus_u_angst: Float64Array
    defocus_v_angst: Float64Array
    defocus_angle_deg: Float64Array
    voltage_kv: Float64Array
    spherical_aberration_mm: Float64Array
    amplitude_contrast: Float64Array
    bfactor_angst2: Float64Array
    scale: Float64Array
    phase_shift_deg: Float64Array

    @property
    def n_img(self) -> int:
        """Number of images."""
        return len(self.defocus_u_angst)


def electron_wavelength_angst(voltage_kv: ArrayLike) -> Float64Array:
    """Return the relativistic wavelength of electrons.

    Parameters
    ----------
    voltage_kv
        float64 (n,) or scalar, kV.

    Returns
    -------
    Float64Array
        float64, same shape, Angstrom.

    Notes
    -----
    Source: RELION ctf.cpp, initialise (its rounded constants).
    """
    volt = np.asarray(voltage_kv, np.float64) * 1e3
    return np.asarray(12.2643247 / np.sqrt(volt * (1.0 + volt * 0.978466e-6)))


def ctf_coefficients(params: CtfParameters) -> Float64Array:
    """Return what a kernel needs to evaluate the CTF of each image at any frequency.

    Parameters
    ----------
    params
        CTF parameters of the images.

    Returns
    -------
    Float64Array
        float64 (n_img, 8) c. At frequency (x, y) in 1/Angstrom, with u2 = x*x + y*y:
        `gamma = c0*x*x + c1*x*y + c2*y*y + c3*u2*u2 + c4` and `ctf = -sin(gamma) * c5 *
        exp(c6*u2)`; c7 is 0. With anisotropic magnification, (x, y) is the frequency after the
        magnification matrix.

    Notes
    -----
    Source: RELION ctf.cpp, initialise, and ctf.h, getCTF.
    """
    wavelength = electron_wavelength_angst(params.voltage_kv)
    azimuth = np.radians(params.defocus_angle_deg)
    cosine, sine = np.cos(azimuth), np.sin(azimuth)
    u, v = params.defocus_u_angst, params.defocus_v_angst
    quadratic = -np.pi * wavelength
    c = np.zeros((params.n_img, 8))
    c[:, 0] = quadratic * (u * cosine**2 + v * sine**2)
    c[:, 1] = quadratic * 2.0 * (u - v) * cosine * sine
    c[:, 2] = quadratic * (u * sine**2 + v * cosine**2)
    c[:, 3] = 0.5 * np.pi * params.spherical_aberration_mm * ANGST_PER_MM * wavelength**3
    contrast = params.amplitude_contrast
    c[:, 4] = -np.arctan2(contrast, np.sqrt(1.0 - contrast**2)) - np.radians(params.phase_shift_deg)
    c[:, 5] = params.scale
    c[:, 6] = -0.25 * params.bfactor_angst2
    return c


def ctf(
    params: CtfParameters,
    freq_x: ArrayLike,
    freq_y: ArrayLike,
    *,
    magnification: ArrayLike | None = None,
    gamma_offset: ArrayLike | None = None,
    intact_until_first_peak: bool = False,
    phase_flipped: bool = False,
    only_flip_phases: bool = False,
) -> Float64Array:
    """Evaluate the CTF of images on a list of frequencies.

    Parameters
    ----------
    params
        CTF parameters of the images.
    freq_x, freq_y
        float64 (n_pix,) 1/Angstrom.
    magnification
        float64 (2, 2) anisotropic magnification; frequencies are multiplied by it.
    gamma_offset
        float64 (n_pix,) radians, phase of symmetric aberrations, added to gamma.
    intact_until_first_peak
        Use 1 where the phase has not reached the first peak.
    phase_flipped
        Use the absolute value, for images whose phases have been flipped already.
    only_flip_phases
        Use the sign only.

    Returns
    -------
    Float64Array
        float64 (n_img, n_pix).

    Notes
    -----
    Source: RELION ctf.h, getCTF (the order of the options included).
    """
    x, y = np.asarray(freq_x, np.float64), np.asarray(freq_y, np.float64)
    if magnification is not None:
        x, y = np.asarray(magnification, np.float64) @ np.stack([x, y])
    u2 = x * x + y * y
    c = ctf_coefficients(params)
    gamma = c[:, :4] @ np.stack([x * x, x * y, y * y, u2 * u2]) + c[:, 4, None]
    if gamma_offset is not None:
        gamma += np.asarray(gamma_offset, np.float64)
    values = -np.sin(gamma)
    if intact_until_first_peak:
        values[np.abs(gamma) < np.pi / 2] = 1.0
    values *= np.exp(c[:, 6, None] * u2)
    if phase_flipped:
        values = np.abs(values)
    elif only_flip_phases:
        values = np.where(values < 0.0, -1.0, 1.0)
    values *= c[:, 5, None]
    tiny = np.abs(values) < SMALLEST_VALUE
    values[tiny] = np.where(values[tiny] < 0.0, -SMALLEST_VALUE, SMALLEST_VALUE)
    return values
