"""How many particles an iteration of mini-batches takes, and which."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from factories.project import class3d_options, noise_project

from relion_mpi.dataset.batches import Batch
from relion_mpi.refine.mini_batches import MiniBatches


@pytest.fixture
def options(tmp_path):
    return class3d_options(noise_project(tmp_path), grad=True, iter=100)


@pytest.fixture
def mini(options):
    return MiniBatches.of(options, 30_000)


def batches_of(*sizes):
    ends = np.cumsum(sizes)
    rows = zip(ends - sizes, ends, strict=True)
    return [Batch(i, 1, np.arange(a, b)) for i, (a, b) in enumerate(rows)]


def test_sizes_grow_from_the_first_to_the_last_part_of_a_run(mini):
    sizes = [mini.size(i) for i in range(1, 101)]
    assert sizes[:30] == [200] * 30
    assert sizes[79:99] == [3000] * 20
    assert np.all(np.diff(sizes) >= 0)
    assert sizes[54] == pytest.approx((200 + 3000) / 2, abs=30)


def test_the_last_iteration_takes_all_particles_and_forgets_the_others(mini):
    assert mini.size(100) == 30_000
    assert mini.replaced(100) == 1.0
    assert mini.chosen(100, batches_of(*[100] * 300), 1).all()


def test_small_sets_never_want_more_particles_than_there_are(options):
    small = MiniBatches.of(options, 150)
    assert {small.size(i) for i in (1, 50, 99, 100)} == {150}


def test_sums_stand_for_about_all_particles_at_last(mini):
    # Sums that lose a share r an iteration hold 1 / r mini-batches.
    assert mini.size(90) / mini.replaced(90) == pytest.approx(30_000)


def test_every_batch_has_its_turn_before_one_comes_again(options):
    mini = replace(MiniBatches.of(options, 1000), sizes=(250, 250))
    batches = batches_of(*[50] * 20)
    turns = [mini.chosen(i, batches, 3) for i in range(1, 9)]
    assert all(turn.sum() == 5 for turn in turns)
    assert (np.sum(turns[:4], axis=0) == 1).all()
    assert (np.sum(turns[4:], axis=0) == 1).all()
    assert any((a != b).any() for a, b in zip(turns[:4], turns[4:], strict=True))


def test_a_choice_depends_on_seed_and_iteration_alone(options):
    mini = MiniBatches.of(options, 5000)
    batches = batches_of(*[50] * 100)
    one = mini.chosen(37, batches, 3)
    assert np.array_equal(one, mini.chosen(37, batches, 3))
    assert not np.array_equal(one, mini.chosen(37, batches, 4))


def test_a_batch_larger_than_the_mini_batch_is_taken_whole(options):
    mini = replace(MiniBatches.of(options, 1000), sizes=(10, 10))
    for iteration in range(1, 20):
        assert mini.chosen(iteration, batches_of(600, 400), 3).sum() >= 1


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ((35.0, 15.0), (35.0, 21.0, 15.0)),
        ((-1.0, -1.0), (-1.0, -1.0, -1.0)),
        ((35.0, -1.0), (35.0, 35.0, -1.0)),
    ],
)  # fmt: skip
def test_the_resolution_limit_moves_evenly_in_frequency(options, limits, expected):
    options = replace(options, grad_ini_resol=limits[0], grad_fin_resol=limits[1])
    mini = MiniBatches.of(options, 30_000)
    assert [mini.limit_angst(i) for i in (10, 55, 95)] == pytest.approx(expected)
