"""Fading sums of mini-batches."""

from __future__ import annotations

import numpy as np
import pytest

from relion_mpi.backend import half_plane
from relion_mpi.fourier.half_ball import is_kept, n_kept
from relion_mpi.fourier.shells import padded_size
from relion_mpi.model.statistics import Statistics
from relion_mpi.mstep.running_sums import RunningSums


def statistics(value, n_dir=4):
    made = Statistics.empty(1, 9, 2, 2, n_dir)
    vector = np.full(made.packed().size, float(value))
    made.fill_from(vector)
    return made


def rows_of(planar, r_max, value):
    size = padded_size(r_max, 2)
    n = half_plane.n_rows(size) if planar else n_kept(size)
    return np.full((2, n, 3), float(value))


def add(running, rows, sums, r_max, replaced):
    running.add(rows, sums, r_max, replaced)
    return running.copies()


@pytest.mark.parametrize("planar", [True, False])
def test_earlier_sums_fade(planar):
    running = RunningSums(2, planar=planar)
    add(running, rows_of(planar, 4, 1), statistics(1), 4, 1.0)
    add(running, rows_of(planar, 4, 10), statistics(10), 4, 0.25)
    rows, found = add(running, rows_of(planar, 4, 100), statistics(100), 4, 0.5)
    assert np.allclose(rows, 100 + 0.5 * (10 + 0.75 * 1))
    assert np.allclose(found.packed(), 100 + 0.5 * (10 + 0.75 * 1))


def test_all_is_forgotten_where_all_is_replaced():
    running = RunningSums(2, planar=True)
    add(running, rows_of(True, 4, 1), statistics(1), 4, 1.0)
    rows, found = add(running, rows_of(True, 4, 2), statistics(2), 4, 1.0)
    assert (rows == 2).all()
    assert (found.packed() == 2).all()


def test_what_is_returned_may_be_changed():
    running = RunningSums(2, planar=True)
    rows, found = add(running, rows_of(True, 4, 1), statistics(1), 4, 1.0)
    rows[:], found.noise[:] = 99, 99
    rows, found = add(running, rows_of(True, 4, 0), statistics(0), 4, 0.5)
    assert np.allclose(rows, 0.5)
    assert np.allclose(found.noise, 0.5)


def test_sums_of_volumes_keep_their_place_when_the_image_size_changes():
    rng = np.random.default_rng(1)
    small, large = (padded_size(r, 2) for r in (3, 5))
    grid = np.zeros((small, small, small // 2 + 1))
    kept = is_kept(small)
    grid[kept] = rng.standard_normal(n_kept(small))
    rows = np.repeat(grid[kept][None, :, None], 3, axis=2)
    running = RunningSums(2, planar=False)
    add(running, rows, statistics(1), 3, 1.0)
    found, _ = add(running, np.zeros((1, n_kept(large), 3)), statistics(1), 5, 0.5)
    wide = np.zeros((large, large, large // 2 + 1))
    wide[is_kept(large)] = found[0, :, 1]
    edge = (large - small) // 2
    inner = wide[edge:-edge, edge:-edge, : small // 2 + 1]
    assert np.allclose(inner, 0.5 * grid)
    assert wide.sum() == pytest.approx(inner.sum())
    back, _ = add(running, np.zeros_like(rows), statistics(1), 3, 0.5)
    assert np.allclose(back, 0.25 * rows)


def test_sums_of_images_keep_their_place_when_the_image_size_changes():
    small, large = (padded_size(r, 2) for r in (3, 5))
    grid = np.random.default_rng(1).standard_normal((*half_plane.plane_shape(small), 3))
    running = RunningSums(2, planar=True)
    add(running, grid.reshape(1, -1, 3), statistics(1), 3, 1.0)
    empty = np.zeros((1, half_plane.n_rows(large), 3))
    found, _ = add(running, empty, statistics(1), 5, 0.5)
    wide = found.reshape(*half_plane.plane_shape(large), 3)
    edge = (large - small) // 2
    assert np.allclose(wide[edge:-edge, : small // 2 + 1], 0.5 * grid)


def test_directions_of_another_grid_are_forgotten_alone():
    running = RunningSums(2, planar=True)
    add(running, rows_of(True, 4, 1), statistics(1), 4, 1.0)
    _, found = add(running, rows_of(True, 4, 1), statistics(2, n_dir=16), 4, 0.5)
    assert (found.direction_weight == 2).all()
    assert np.allclose(found.class_weight, 2.5)


def test_sums_go_on_after_they_were_saved():
    one, other = (RunningSums(2, planar=True) for _ in range(2))
    one.add(rows_of(True, 4, 3), statistics(3), 4, 1.0)
    other.restore(one.arrays())
    both = [add(s, rows_of(True, 5, 1), statistics(1), 5, 0.3) for s in (one, other)]
    assert np.array_equal(both[0][0], both[1][0])
    assert np.array_equal(both[0][1].packed(), both[1][1].packed())
    assert RunningSums(2, planar=True).arrays() == {}


def test_a_class_shares_its_particles_with_an_idle_one():
    running = RunningSums(2, planar=True)
    first, second = rows_of(True, 4, 6), rows_of(True, 4, 4)
    first[1], second[1] = 0.1, 0.0
    running.add(first, statistics(6), 4, 1.0)
    running.add(second, statistics(4), 4, 0.5)
    running.part(0, 1)
    rows, found = running.copies()
    assert np.allclose(rows[0], 3)
    assert np.allclose(rows[1], 4)
    assert np.allclose(found.class_weight, [3, 4])
    assert np.allclose(found.direction_weight, [[3] * 4, [4] * 4])
