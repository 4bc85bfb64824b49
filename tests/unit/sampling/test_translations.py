"""Translation grids."""

from __future__ import annotations

import numpy as np
import pytest

from relion_mpi.core.errors import InputError
from relion_mpi.sampling.translations import make_translation_grid


def test_range_11_7_step_3_has_45_coarse_and_180_fine_translations():
    grid = make_translation_grid(11.7, 3.0)
    assert grid.n_shift == 45
    assert grid.fine_shifts_angst.shape == (180, 2)


def test_x_is_the_slowest():
    grid = make_translation_grid(2.0, 2.0)
    assert grid.coarse_angst.tolist() == [[-2, 0], [0, -2], [0, 0], [0, 2], [2, 0]]


def test_the_rim_of_the_circle_is_inside():
    assert [3.0, 4.0] in make_translation_grid(5.0, 1.0).coarse_angst.tolist()


def test_children_are_centred_on_their_parent_with_y_fastest():
    grid = make_translation_grid(0.0, 2.0)
    assert grid.fine_shifts_angst.tolist() == [[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]]
    assert grid.fine_step_angst == 1.0


def test_perturbation_moves_all_but_the_prior_grid():
    still = make_translation_grid(4.0, 2.0)
    moved = make_translation_grid(4.0, 2.0, perturbation=0.25)
    assert np.array_equal(moved.coarse_angst, still.coarse_angst)
    assert np.allclose(moved.coarse_shifts_angst - still.coarse_shifts_angst, 0.5)
    assert np.allclose(moved.fine_shifts_angst - still.fine_shifts_angst, 0.5)


def test_no_oversampling_returns_the_coarse_grid():
    grid = make_translation_grid(4.0, 2.0, oversampling=0, perturbation=0.1)
    assert np.allclose(grid.fine_shifts_angst, grid.coarse_shifts_angst)


@pytest.mark.parametrize(("range_angst", "step"), [(5.0, 0.0), (5.0, -1.0), (-1.0, 1.0)])
def test_impossible_grids_are_refused(range_angst: float, step: float):
    with pytest.raises(InputError):
        make_translation_grid(range_angst, step)
