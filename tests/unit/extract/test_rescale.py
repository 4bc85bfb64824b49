"""Images of few known waves keep these on another grid."""

from __future__ import annotations

import numpy as np
import pytest

from relion_mpi.extract.rescale import rescale

SIDE = 32


def waves(side, frequencies):
    """Sum of cosines of (kx, ky, phase) periods a side, counted from the centre pixel."""
    y, x = (np.mgrid[:side, :side] - side // 2) / side
    return sum(np.cos(2 * np.pi * (kx * x + ky * y) + phase) for kx, ky, phase in frequencies)


LOW = [(0, 0, 0), (3, 1, 0.4), (-5, 4, 1.0), (0, 7, 2.0), (7, 0, -1.0)]
# Beyond the Nyquist frequency of 16 pixels.
HIGH = [(9, 0, 0.5), (0, -12, 1.0), (11, 13, 0.2)]


def rescaled(image, side):
    return rescale(image[None].astype(np.float32), side)[0]


@pytest.mark.parametrize("side", [16, 24, 30])
def test_a_smaller_image_holds_the_waves_that_its_grid_can_hold(side):
    np.testing.assert_allclose(rescaled(waves(SIDE, LOW), side), waves(side, LOW), atol=1e-5)


def test_waves_that_are_too_fine_vanish():
    np.testing.assert_allclose(
        rescaled(waves(SIDE, LOW + HIGH), 16), waves(16, LOW), atol=1e-5
    )


@pytest.mark.parametrize("side", [34, 48, 64])
def test_a_larger_image_holds_the_same_waves(side):
    found = rescaled(waves(SIDE, LOW + HIGH[:2]), side)
    np.testing.assert_allclose(found, waves(side, LOW + HIGH[:2]), atol=1e-5)


def test_a_larger_image_holds_nothing_beyond_the_old_nyquist_circle():
    corner = rescaled(waves(SIDE, [(13, 13, 0.0)]), 48)
    np.testing.assert_allclose(corner, 0, atol=1e-5)


def test_white_noise_keeps_its_power_a_frequency():
    noise = np.random.default_rng(1).normal(size=(50, SIDE, SIDE))
    small = rescale(noise.astype(np.float32), 16)
    # Of the 31 frequencies on the Nyquist row and column one sign is kept, hence half the power.
    assert small.var() == pytest.approx((16**2 - 31 / 2) / SIDE**2, rel=0.03)
