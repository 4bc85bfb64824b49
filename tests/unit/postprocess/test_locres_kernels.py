"""Each kernel beside its formula in numpy."""

from __future__ import annotations

import numpy as np
import pytest

from relion_mpi.postprocess.locres.kernels import add_powers, add_window, scale_by_squared_radius
from relion_mpi.postprocess.locres.window import cut

RNG = np.random.default_rng(0)


def complex_numbers(n):
    return (RNG.normal(size=n) + 1j * RNG.normal(size=n)).astype(np.complex64)


def test_powers_are_sums_over_shells():
    first, second = complex_numbers(50), complex_numbers(50)
    shells = RNG.integers(0, 4, 50).astype(np.int16)
    powers = np.zeros((3, 4))
    add_powers(first, second, shells, powers)
    for shell in range(4):
        a, b = first[shells == shell], second[shells == shell]
        expected = [(a * b.conj()).real.sum(), (abs(a) ** 2).sum(), (abs(b) ** 2).sum()]
        np.testing.assert_allclose(powers[:, shell], expected, rtol=1e-5, atol=1e-5)


def test_each_coefficient_gets_the_factor_of_its_radius():
    transform, squared = complex_numbers(20), np.arange(20, dtype=np.int32)[::-1] // 2
    factor = RNG.normal(size=10).astype(np.float32)
    expected = transform * factor[squared]
    scale_by_squared_radius(transform, squared, factor)
    np.testing.assert_allclose(transform, expected, rtol=1e-6)


def test_overlapping_windows_are_averaged_by_their_masks_in_frequency():
    """Also where a window sticks out of the map."""
    mask = RNG.random((4, 4, 4)).astype(np.float32)
    maps = RNG.normal(size=(2, 4, 4, 4)).astype(np.float32)
    corners, frequencies = np.array([[-1, 0, 2], [0, 1, 4]]), (0.1, 0.25)
    totals = np.zeros((3, 6, 6, 6), np.float32)
    padded = np.zeros((2, 3, 12, 12, 12))
    for corner, frequency, one, whole in zip(corners, frequencies, maps, padded, strict=True):
        add_window(mask, one, frequency, corner, totals)
        z, y, x = corner + 3
        whole[:, z : z + 4, y : y + 4, x : x + 4] = mask, mask * frequency, mask * one
    expected = padded.sum(axis=0)[:, 3:9, 3:9, 3:9]
    assert (expected[0] > mask.max()).any()  # they do overlap
    np.testing.assert_allclose(totals, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("corner", [(0, 1, 2), (-2, 0, 3), (4, -1, 5)])
def test_what_sticks_out_of_the_map_is_0(corner):
    volume = RNG.normal(size=(6, 6, 6)).astype(np.float32)
    padded = np.zeros((18, 18, 18), np.float32)
    padded[6:12, 6:12, 6:12] = volume
    z, y, x = np.array(corner) + 6
    piece = cut(volume, np.array(corner), 3)
    np.testing.assert_array_equal(piece, padded[z : z + 3, y : y + 3, x : x + 3])
