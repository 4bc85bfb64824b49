"""Sizes of transforms, and the parts of the grid of scores that count."""

from __future__ import annotations

import numpy as np
import pytest

from relion_mpi.picking.grid import good_size, make_grid, picking_area, ring_transform


def largest_prime(n):
    found, k = 1, 2
    while n > 1:
        while n % k == 0:
            found, n = k, n // k
        k += 1
    return found


@pytest.mark.parametrize("n", [1, 7, 64, 97, 341, 664, 3710, 3838, 4092, 5760, 7676, 8184, 11520])
def test_sizes_are_even_have_small_primes_and_waste_little(n):
    found = good_size(n)
    assert found % 2 == 0
    assert n <= found <= 1.07 * n + 6
    assert largest_prime(found) <= 7
    assert good_size(found) == found


def test_a_lowpass_makes_the_grid_as_coarse_as_it_allows():
    grid = make_grid((4096, 4096), 1.62, lowpass_angst=20.0)
    assert grid.padded == (4096, 4096)
    assert grid.work == (672, 672)  # 2 * 331.8 frequencies; 664 has a factor of 83
    assert grid.limit == pytest.approx(0.081)
    exact = make_grid((4096, 4096), 1.62, lowpass_angst=20.0, exact=True)
    assert exact.work == (664, 664)


def test_without_one_it_is_the_micrograph():
    grid = make_grid((3710, 3838), 0.885)
    assert grid.padded == grid.work
    assert grid.limit == 0.5


@pytest.mark.parametrize(
    ("shrink", "work"), [(1.0, (400, 600)), (0.5, (200, 300)), (300, (200, 300))]
)
def test_the_grid_can_be_chosen(shrink, work):
    assert make_grid((400, 600), 1.0, lowpass_angst=10.0, shrink=shrink).work == work


def test_a_grid_that_is_too_coarse_lowers_the_limit(caplog):
    grid = make_grid((400, 600), 1.0, lowpass_angst=5.0, shrink=0.25)
    assert grid.limit == pytest.approx(0.125, rel=0.05)
    assert "--shrink" in caplog.text


def test_the_area_stays_away_from_the_edges_of_the_micrograph_not_of_what_is_transformed():
    grid = make_grid((397, 601), 1.0, lowpass_angst=8.0)
    assert grid.padded > grid.shape
    area = picking_area(grid, 50.0)
    y = np.array([area.y0, area.y1 - 1]) * grid.padded[0] / grid.work[0]
    x = np.array([area.x0, area.x1 - 1]) * grid.padded[1] / grid.work[1]
    assert 50 <= y[0] < 54
    assert 392 - 50 < y[1] <= 396 - 50
    assert 50 <= x[0] < 54
    assert 596 - 50 < x[1] <= 600 - 50
    empty = picking_area(grid, 300.0)
    assert empty.y0 >= empty.y1


def test_the_ring_has_a_weight_of_one_and_is_that_of_the_formula():
    grid = make_grid((60, 80), 1.0)
    found = ring_transform(grid, 10.0)
    assert found.shape == grid.half
    assert found[0, 0] == pytest.approx(1.0, abs=1e-6)
    y, x = (np.minimum(np.arange(n), n - np.arange(n)) for n in grid.padded)
    radius = np.hypot(y[:, None], x[None, :])
    ring = (radius >= 10) & (radius < 20)
    expected = np.fft.rfft2(ring / ring.sum()).real
    np.testing.assert_allclose(found, expected, atol=1e-6)
