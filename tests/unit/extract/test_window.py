"""Windows of a micrograph whose pixels say where they are."""

from __future__ import annotations

import numpy as np
import pytest

from relion_mpi.extract.window import cut, is_outside, rewindow

NY, NX = 40, 50
PLACES = np.arange(NX)[None, :] + 1000.0 * np.arange(NY)[:, None]


def centred(x, y, side=8, dtype=np.float32):
    return cut(PLACES.astype(dtype), np.array([(x, y)]), side)[0]


def test_the_pixel_of_the_coordinates_becomes_the_centre_pixel():
    window = centred(20, 10)
    assert window[4, 4] == 10020
    assert window[0, 0] == 6016
    assert window[-1, -1] == 13023


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<i4", "<f8"])
def test_every_kind_of_pixel_is_read(dtype):
    np.testing.assert_array_equal(centred(20, 10, dtype=dtype), centred(20, 10))


@pytest.mark.parametrize(("x", "y"), [(1, 20), (48, 20), (20, 0), (20, 39), (0, 0), (49, 39)])
def test_pixels_beyond_the_edge_repeat_the_nearest_one(x, y):
    padded = np.pad(PLACES, 8, mode="edge")
    np.testing.assert_array_equal(centred(x, y), padded[y + 4 : y + 12, x + 4 : x + 12])


@pytest.mark.parametrize(
    ("x", "outside"), [(-3, False), (-4, True), (53, False), (54, True), (1000, True)]
)
def test_a_window_is_outside_once_it_holds_no_pixel_of_the_micrograph(x, outside):
    # Of 8 pixels 4 lie before the centre and 3 behind.
    assert is_outside(np.array([(x, 20)]), 8, (NY, NX)).tolist() == [outside]
    assert is_outside(np.array([(20, x)]), 8, (NX, NY)).tolist() == [outside]


def test_the_centre_pixel_stays_the_centre_when_images_are_cropped():
    small = rewindow(centred(20, 10)[None], 6, np.zeros(1, np.float32))[0]
    np.testing.assert_array_equal(small, centred(20, 10, 6))


def test_the_centre_pixel_stays_the_centre_when_images_are_padded():
    large = rewindow(centred(20, 10)[None], 12, np.full(1, -5, np.float32))[0]
    np.testing.assert_array_equal(large[2:10, 2:10], centred(20, 10))
    assert np.count_nonzero(large == -5) == 12**2 - 8**2
