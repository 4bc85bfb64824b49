"""Phases of higher-order aberrations."""

from __future__ import annotations

import numpy as np
import pytest

from relion_mpi.optics.aberrations import (
    even_zernike_gamma_offset,
    odd_zernike_phase,
    phase_shift_of_beam_tilt,
)


def unit_disc(n: int = 500) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    radius, angle = np.sqrt(rng.uniform(0, 1, n)), rng.uniform(-np.pi, np.pi, n)
    return radius * np.cos(angle), radius * np.sin(angle)


# The closed forms of Zernike's polynomials in RELION's order.
EVEN = [
    lambda x, y: np.ones_like(x),
    lambda x, y: 2 * x * y,
    lambda x, y: 2 * (x * x + y * y) - 1,
    lambda x, y: x * x - y * y,
    lambda x, y: 4 * x * y * (x * x - y * y),
]
ODD = [
    lambda x, y: y,
    lambda x, y: x,
    lambda x, y: 3 * x * x * y - y**3,
    lambda x, y: (3 * (x * x + y * y) - 2) * y,
    lambda x, y: (3 * (x * x + y * y) - 2) * x,
    lambda x, y: x**3 - 3 * x * y * y,
]


@pytest.mark.parametrize("i", range(len(EVEN)))
def test_symmetric_polynomials_have_their_closed_forms(i: int):
    x, y = unit_disc()
    one = np.eye(len(EVEN))[i]
    assert np.allclose(even_zernike_gamma_offset(x, y, one), EVEN[i](x, y))


@pytest.mark.parametrize("i", range(len(ODD)))
def test_antisymmetric_polynomials_have_their_closed_forms(i: int):
    x, y = unit_disc()
    one = np.eye(len(ODD))[i]
    assert np.allclose(odd_zernike_phase(x, y, one), ODD[i](x, y))


def test_friedel_mates_have_equal_even_and_opposite_odd_phases():
    x, y = unit_disc()
    coefficients = np.arange(1.0, 10.0)
    even = even_zernike_gamma_offset(x, y, coefficients)
    odd = odd_zernike_phase(x, y, coefficients)
    assert np.allclose(even_zernike_gamma_offset(-x, -y, coefficients), even)
    assert np.allclose(odd_zernike_phase(-x, -y, coefficients), -odd)


def test_beam_tilt_is_a_cubic_phase_along_the_tilt():
    wavelength, cs_mm = 0.0196876153, 2.7
    x, y = [0.0, 0.1, 0.2], [0.1, 0.0, 0.0]
    phase = phase_shift_of_beam_tilt(x, y, (1.0, 0.0), wavelength, cs_mm)
    # 360 degrees * Cs * wavelength^2 * tilt (rad) * frequency^3
    expected = -2 * np.pi * 2.7e7 * wavelength**2 * 1e-3 * 0.1**3
    assert np.allclose(phase, [0.0, expected, 8 * expected])
