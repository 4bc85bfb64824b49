"""Images that cannot be used are told from those that only look unusual."""

from __future__ import annotations

import time

import numpy as np
import pytest

from relion_mpi.dataset.pixel_checks import CONSTANT, HOT, NOT_FINITE, REASONS, check_pixels


def noise(n=1, box=64, seed=0):
    return np.random.default_rng(seed).normal(size=(n, box, box)).astype(np.float32)


def spoilt(value, box=64, n_pixels=1):
    """An image of noise with the first pixels replaced."""
    images = noise(3, box)
    images[1].ravel()[:n_pixels] = value
    return images


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
def test_one_pixel_that_is_not_finite_flags_its_image_only(value):
    assert check_pixels(spoilt(value)).tolist() == [0, NOT_FINITE, 0]


@pytest.mark.parametrize("value", [0.0, -3.5, 1e30])
def test_equal_pixels_are_constant(value):
    images = noise(2)
    images[0] = value
    assert check_pixels(images).tolist() == [CONSTANT, 0]


@pytest.mark.parametrize("box", [16, 64, 256])
@pytest.mark.parametrize("value", [60.0, -60.0, 1e4, 1e12, 1e30, -3e38])
def test_a_hot_pixel_is_found_in_boxes_of_any_size(value, box):
    # Against the plain standard deviation no pixel of a box of 16 is more than 16 off.
    assert check_pixels(spoilt(value, box)).tolist() == [0, HOT, 0]


@pytest.mark.parametrize("value", [40.0, -40.0, 8.0])
def test_a_pixel_of_40_deviations_is_left_alone(value):
    assert not check_pixels(spoilt(value)).any()


def test_several_hot_pixels_do_not_hide_one_another():
    assert check_pixels(spoilt(1e12, n_pixels=40)).tolist() == [0, HOT, 0]


def test_pixels_whose_squares_overflow_are_hot_however_many_they_are():
    assert check_pixels(spoilt(1e20, n_pixels=2000)).tolist() == [0, HOT, 0]


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e8])
@pytest.mark.parametrize("offset", [0.0, 1000.0, -1000.0])
def test_the_grey_scale_does_not_matter(scale, offset):
    images = (spoilt(60.0).astype(np.float64) + offset) * scale
    assert check_pixels(images.astype(np.float32)).tolist() == [0, HOT, 0]
    assert not check_pixels(((noise(3) + offset) * scale).astype(np.float32)).any()


def test_masked_particles_are_left_alone():
    images = noise(4)
    images[:, :20] = 0
    images[:, :, 30:] = 0
    assert not check_pixels(images).any()


def test_a_hot_pixel_in_an_otherwise_constant_image_is_found():
    images = np.ones((1, 64, 64), np.float32)
    images[0, 5, 5] = 2
    assert check_pixels(images).tolist() == [HOT]


def test_every_flag_has_a_reason():
    assert set(REASONS) == {NOT_FINITE, CONSTANT, HOT}


def test_a_gigabyte_takes_less_than_a_second():
    images = noise(400, 128)
    check_pixels(images[:2])  # compile
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        check_pixels(images)
        seconds.append(time.perf_counter() - began)
    assert images.nbytes / min(seconds) > 1e9


@pytest.mark.parametrize("n_threads", [1, 3, 8])
def test_images_in_half_precision_are_judged_as_their_float32(n_threads):
    images = noise(7, 16).astype(np.float16)
    images[1, 3, 3], images[2, 0, 0], images[4], images[6, 5, 5] = np.nan, -np.inf, 2.5, 6e4
    expected = check_pixels(images.astype(np.float32))
    assert expected.tolist() == [0, NOT_FINITE, NOT_FINITE, 0, CONSTANT, 0, HOT]
    assert np.array_equal(check_pixels(images, n_threads), expected)
