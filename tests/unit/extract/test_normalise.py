"""Background of known mean, deviation, slope and dust."""

from __future__ import annotations

import numpy as np
import pytest

from relion_mpi.extract.normalise import normalise

SIDE, RADIUS = 40, 14
Y, X = np.mgrid[:SIDE, :SIDE] - SIDE // 2
OUTSIDE = X**2 + Y**2 > RADIUS**2
KEYS = [(1, 0), (1, 1), (1, 2)]


def noise(seed=0):
    return np.random.default_rng(seed).normal(size=(3, SIDE, SIDE))


def normalised(images, **options):
    images = images.astype(np.float32)
    flat = normalise(images, RADIUS, KEYS, **options)
    return images, flat


@pytest.mark.parametrize("ramp", [True, False])
def test_the_background_gets_mean_0_and_deviation_1(ramp):
    images, flat = normalised(5 + 3 * noise() + 0.1 * X, ramp=ramp)
    np.testing.assert_allclose(images[:, OUTSIDE].mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(images[:, OUTSIDE].std(axis=1), 1, atol=1e-6)
    assert not flat.any()


def test_the_particle_is_moved_and_scaled_like_its_background():
    inside = np.where(OUTSIDE, 0, 40.0)
    background = noise()
    background -= background[:, OUTSIDE].mean(axis=1)[:, None, None]
    background /= background[:, OUTSIDE].std(axis=1)[:, None, None]
    images, _ = normalised(7 + 2 * (background + inside), ramp=False)
    np.testing.assert_allclose(images, background + inside, atol=1e-5)


def test_a_plane_is_taken_away_as_if_it_had_never_been_there():
    plane = 11 + 0.7 * X - 0.3 * Y
    np.testing.assert_allclose(normalised(noise() + plane)[0], normalised(noise())[0], atol=1e-5)


def test_the_particle_does_not_tilt_the_plane():
    particle = np.where(OUTSIDE, 0, 5.0 * X)
    difference = normalised(noise() + particle)[0] - normalised(noise())[0]
    np.testing.assert_allclose(difference[:, OUTSIDE], 0, atol=1e-5)


def test_a_slope_stays_without_the_ramp():
    images, _ = normalised(noise() + 0.2 * X, ramp=False)
    slope = np.polyfit(X[OUTSIDE], images[0][OUTSIDE], 1)[0]
    assert slope == pytest.approx(0.2 / np.sqrt(1 + 0.2**2 * (X[OUTSIDE] ** 2).mean()), rel=0.05)


@pytest.fixture
def dusty():
    """Dust inside of the circle: the background does not notice."""
    images = noise().clip(-2, 2)
    images[0, 20, 20], images[1, 18, 25], images[2, 25, 15] = 30, -30, 30
    return images


def test_white_dust_alone_is_replaced(dusty):
    clean, with_dust = normalised(dusty, dust=(5, -1))[0], normalised(dusty)[0]
    changed = np.argwhere(clean != with_dust).tolist()
    assert changed == [[0, 20, 20], [2, 25, 15]]
    assert abs(clean[0, 20, 20]) < 5
    assert abs(clean[2, 25, 15]) < 5


def test_black_dust_alone_is_replaced(dusty):
    clean, with_dust = normalised(dusty, dust=(-1, 5))[0], normalised(dusty)[0]
    assert np.argwhere(clean != with_dust).tolist() == [[1, 18, 25]]


def test_replaced_pixels_are_like_the_background():
    images = 4 + 2 * noise()
    images[:, 12:28, 12:28] = 500
    clean, _ = normalised(images, dust=(8, 8), ramp=False)
    drawn = clean[:, 12:28, 12:28]
    assert drawn.mean() == pytest.approx(0, abs=0.1)
    assert drawn.std() == pytest.approx(1, rel=0.1)


def test_the_same_particle_gets_the_same_noise(dusty):
    first, again = (normalised(dusty, dust=(5, 5))[0] for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_a_constant_background_is_not_divided_by_its_deviation():
    images = np.full((3, SIDE, SIDE), 3.3)
    images[1] = noise()[1]
    found, flat = normalised(images)
    assert flat.tolist() == [True, False, True]
    np.testing.assert_allclose(found[[0, 2]], 0, atol=1e-6)
