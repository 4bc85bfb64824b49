"""The contrast transfer function."""

from __future__ import annotations

import numpy as np
import pytest

from relion_mpi.optics.ctf import (
    SMALLEST_VALUE,
    CtfParameters,
    ctf,
    ctf_coefficients,
    electron_wavelength_angst,
)

BOX, PIXEL_ANGST = 32, 3.0


def parameters(n_img: int = 1, **changes: float) -> CtfParameters:
    values = {
        "defocus_u_angst": 15000.0, "defocus_v_angst": 14000.0, "defocus_angle_deg": 30.0,
        "voltage_kv": 300.0, "spherical_aberration_mm": 2.7, "amplitude_contrast": 0.1,
        "bfactor_angst2": 0.0, "scale": 1.0, "phase_shift_deg": 0.0,
    } | changes  # fmt: skip
    return CtfParameters(**{name: np.full(n_img, value) for name, value in values.items()})


def random_frequencies(n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.random.default_rng(2).uniform(-0.16, 0.16, (2, n))
    return x, y


def test_wavelength_at_300_kv():
    assert np.isclose(electron_wavelength_angst(300.0), 0.0196876153, rtol=1e-8)


@pytest.mark.parametrize(
    ("x", "y", "value"),
    [
        (0, 0, 0.1), (5, 3, -0.36796544), (5, -3, -0.20107750), (0, 16, -0.71723048),
        (16, 0, 0.05917996),
    ],
)  # fmt: skip
def test_values_are_those_of_relion(x: int, y: int, value: float):
    unit = 1 / (BOX * PIXEL_ANGST)
    assert np.isclose(ctf(parameters(), [x * unit], [y * unit])[0, 0], value, atol=1e-7)


def test_bfactor_and_phase_shift_are_those_of_relion():
    unit = 1 / (BOX * PIXEL_ANGST)
    params = parameters(bfactor_angst2=50.0, phase_shift_deg=90.0)
    assert np.isclose(ctf(params, [5 * unit], [3 * unit])[0, 0], -0.88793319, atol=1e-7)


def test_coefficients_reproduce_the_function():
    params = parameters(bfactor_angst2=40.0, scale=0.8, phase_shift_deg=20.0)
    x, y = random_frequencies()
    c = ctf_coefficients(params)[0]
    u2 = x * x + y * y
    gamma = c[0] * x * x + c[1] * x * y + c[2] * y * y + c[3] * u2 * u2 + c[4]
    assert np.allclose(-np.sin(gamma) * c[5] * np.exp(c[6] * u2), ctf(params, x, y)[0])


def test_defocus_u_lies_along_the_angle():
    params = parameters(defocus_angle_deg=25.0)
    round_u = parameters(defocus_v_angst=15000.0)
    angle = np.radians(25.0)
    along = ([0.1 * np.cos(angle)], [0.1 * np.sin(angle)])
    assert np.allclose(ctf(params, *along), ctf(round_u, *along))


def test_phases_intact_until_the_first_peak_and_untouched_after():
    x = np.linspace(0.0, 0.1, 200)
    plain = ctf(parameters(), x, 0 * x)[0]
    intact = ctf(parameters(), x, 0 * x, intact_until_first_peak=True)[0]
    peak = int(np.argmax(plain[:80]))
    assert np.allclose(intact[:peak], 1.0)
    assert np.allclose(intact[peak + 2 :], plain[peak + 2 :])


def test_phase_flipped_is_the_absolute_value():
    x, y = random_frequencies()
    assert np.allclose(ctf(parameters(), x, y, phase_flipped=True), np.abs(ctf(parameters(), x, y)))


def test_only_flipping_phases_gives_signs():
    x, y = random_frequencies()
    signs = ctf(parameters(), x, y, only_flip_phases=True)
    assert np.array_equal(signs, np.sign(ctf(parameters(), x, y)))


def test_zeros_are_kept_away_from_zero():
    values = ctf(parameters(amplitude_contrast=0.0), [0.0], [0.0])
    assert np.abs(values[0, 0]) == SMALLEST_VALUE


def test_magnification_transforms_the_frequencies():
    matrix = np.array([[1.05, 0.02], [0.01, 0.97]])
    x, y = random_frequencies()
    moved_x, moved_y = matrix @ np.stack([x, y])
    assert np.allclose(
        ctf(parameters(), x, y, magnification=matrix), ctf(parameters(), moved_x, moved_y)
    )


def test_gamma_offset_of_half_a_turn_inverts_the_sign():
    x, y = random_frequencies()
    offset = np.full(x.shape, np.pi)
    assert np.allclose(
        ctf(parameters(), x, y, gamma_offset=offset), -ctf(parameters(), x, y), atol=1e-10
    )


def test_images_are_independent():
    x, y = random_frequencies(20)
    both = parameters(2)
    both.defocus_u_angst[1] = 22000.0
    assert np.allclose(ctf(both, x, y)[1], ctf(parameters(defocus_u_angst=22000.0), x, y)[0])
