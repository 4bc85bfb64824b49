"""Figures of merit, distances, positions."""

from __future__ import annotations

import numpy as np
import pytest

from relion_mpi.backend.picking import Peaks
from relion_mpi.picking.grid import make_grid
from relion_mpi.picking.merit import apart, expected_score, merit, positions


def peaks(noise=300, particles=0, at=15.0, spread=2.0, seed=0):
    rng = np.random.default_rng(seed)
    both = rng.normal(3.2, 0.65, noise), rng.normal(at, spread, particles)
    return np.concatenate(both).astype(np.float32)


@pytest.mark.parametrize("particles", [10, 100, 400])
def test_the_expected_score_is_that_of_particles(particles):
    assert expected_score(peaks(particles=particles)) == pytest.approx(15.0, abs=1.0)


@pytest.mark.parametrize("seed", range(5))
def test_noise_alone_has_figures_of_merit_below_a_quarter(seed):
    scores = peaks(noise=1000, seed=seed)
    figures = merit(scores, expected_score(scores))
    assert (figures > 0.25).sum() <= 1
    assert np.median(figures) < 0


def test_it_follows_the_scale_of_the_scores():
    scores = peaks(particles=50)
    assert expected_score(8 * scores) == pytest.approx(8 * expected_score(scores))


def test_few_peaks_or_equal_ones_are_no_failure():
    assert expected_score(np.empty(0, np.float32)) == 1.0
    for scores in ([5.0], [5.0] * 10, [1.0, 2.0]):
        assert expected_score(np.array(scores, np.float32)) > max(scores)


def test_blobs_are_measured_without_ice():
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(0.15, 0.02, 100), [0.7, 0.8]]).astype(np.float32)
    assert expected_score(scores, blobs=True) == pytest.approx(0.15, abs=0.01)


def test_one_is_what_is_expected_and_zero_half_of_it():
    assert merit(np.array([10.0, 5.0, 0.0], np.float32), 10.0).tolist() == [1.0, 0.0, -1.0]


def test_the_better_of_two_stays_and_does_not_take_both():
    points = np.array([[0.0, 0.0], [9.0, 0.0], [18.0, 0.0], [30.0, 0.0]])
    assert apart(points, 10.0).tolist() == [0, 2, 3]
    assert apart(points, 9.0).tolist() == [0, 1, 2, 3]  # at the distance is far enough
    assert apart(points[:0], 10.0).size == 0
    # The second is kept away by the first one's reach, not by its own.
    assert apart(points, np.array([5.0, 10.0, 1.0, 1.0])).tolist() == [0, 1, 3]


def test_positions_are_the_tops_of_parabolas():
    grid = make_grid((120, 160), 1.0, lowpass_angst=4.0, shrink=0.5)
    top = np.array([[20.3, 31.8]])  # y, x

    def value(y, x):
        return 10.0 - 0.4 * (y - top[0, 0]) ** 2 - 0.3 * (x - top[0, 1]) ** 2

    one = np.ones(1, np.int32)
    around = np.array([[value(19, 32), value(21, 32), value(20, 31), value(20, 33)]], np.float32)
    found = Peaks(20 * one, 32 * one, np.array([value(20, 32)], np.float32), around, one,
                  one.astype(np.float32), one.astype(np.float32))  # fmt: skip
    assert positions(found, grid)[0] == pytest.approx([2 * 31.8, 2 * 20.3], abs=1e-4)
