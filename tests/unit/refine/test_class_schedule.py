"""The schedule of a classification."""

from __future__ import annotations

import numpy as np
import pytest

from relion_mpi.model.state import Accuracy
from relion_mpi.refine.class_schedule import NO_ORDER, ClassSchedule, subset_size
from relion_mpi.refine.schedule import Changes


def schedule(**changes):
    values = {
        "healpix_order": 2, "oversampling": 1, "offset_range_angst": 10.0,
        "offset_step_angst": 4.0, "perturbation_factor": 0.5, "local_order": NO_ORDER,
    }  # fmt: skip
    return ClassSchedule(**(values | changes))


def test_image_sizes_grow_with_the_resolution():
    assert schedule().current_size(100, 200.0, 0.1, 0.9) == 2 * (20 + 10)
    assert schedule().current_size(50, 200.0, 0.1, 0.9) == 50


def test_the_highest_resolution_that_is_asked_for_limits_the_size():
    limited = schedule(highres_limit_angst=10.0)
    assert limited.current_size(100, 200.0, 0.1, 0.9) == 40
    assert limited.current_size(100, 200.0, 0.02, 0.9) == 28  # less is wanted


def test_the_resolution_is_where_the_best_class_first_falls_below_one():
    curves = np.ones((2, 33)) * 0.5
    curves[0, :8] = 5.0
    curves[1, :13] = 5.0
    curves[1, 20:25] = 3.0  # auto-refine would pass over the dip
    assert schedule().resolution(curves, 100.0) == pytest.approx(0.12)


def test_it_neither_ends_nor_refines_its_grids():
    one = schedule()
    for _ in range(5):
        one.note_changes(Changes(0.0, 0.0, 0.0))
        one.note_resolution(0.05, 0.05)
        assert not one.check_convergence()
        assert not one.refine_sampling(Accuracy(np.full(1, 9.0), np.full(1, 9.0)), 0.05, 100.0)
    assert one.healpix_order == 2
    assert one.iterations_without_changes > 0


@pytest.mark.parametrize(
    ("iteration", "n_particles", "size"),
    [
        (1, 100_000, 3000), (5, 100_000, 3000), (6, 100_000, 9000), (10, 100_000, 9000),
        (11, 100_000, 30_000), (15, 10_000, 9000), (16, 100_000, 100_000), (1, 500, 500),
    ],
)  # fmt: skip
def test_subsets_grow_to_all_particles(iteration, n_particles, size):
    assert subset_size(iteration, n_particles, 2) == size
