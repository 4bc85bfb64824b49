"""Class averages in the centre of the box."""

from __future__ import annotations

import numpy as np

from relion_mpi.mstep.centring import centred

BOX = 16


def blob(y, x):
    axis = np.arange(BOX) - BOX // 2
    return np.exp(-((axis[:, None] - y) ** 2 + (axis - x) ** 2) / 4)


def test_an_image_off_the_centre_is_brought_there():
    found = centred(blob(3, -2), np.ones((BOX, BOX)), 5.0)
    np.testing.assert_allclose(found, blob(0, 0), atol=1e-2)


def test_a_shift_is_no_longer_than_allowed():
    found = centred(blob(3, -2), np.ones((BOX, BOX)), 1.0)
    np.testing.assert_allclose(found, blob(2, -1), atol=1e-2)


def test_what_is_negative_or_masked_has_no_mass():
    mask = np.ones((BOX, BOX))
    mask[:3] = 0
    image = blob(0, 0) - 0.5 * blob(0, 5)
    image[:3] = 1.0
    np.testing.assert_array_equal(centred(image, mask, 5.0), image)


def test_an_empty_class_stays():
    empty = np.zeros((BOX, BOX))
    assert centred(empty, np.ones((BOX, BOX)), 5.0) is empty
