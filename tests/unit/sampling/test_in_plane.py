import numpy as np
import pytest

from relion_mpi.core.errors import InputError
from relion_mpi.geometry.euler import euler_to_matrix, matrix_to_euler
from relion_mpi.sampling.in_plane import make_in_plane_grid


def test_angles_go_round_the_circle_in_equal_steps():
    grid = make_in_plane_grid(7.0)
    assert grid.psi_step_deg == 360 / 52
    assert (grid.n_dir, grid.n_psi, grid.n_orient) == (1, 52, 52)
    np.testing.assert_allclose(np.diff(grid.psi_deg), 360 / 52)


@pytest.mark.parametrize("oversampling", [0, 1, 2])
def test_children_divide_their_parents_step(oversampling):
    grid = make_in_plane_grid(12.0, oversampling=oversampling)
    n = 2**oversampling
    assert grid.n_fine_dir_each == 1
    assert grid.n_fine_psi_each == n
    assert (grid.step_deg, grid.fine_step_deg) == (12.0, 12.0 / n)
    fine = np.degrees(grid.fine_psi_rad()).reshape(-1, n)
    np.testing.assert_allclose(np.diff(fine.ravel()), 12.0 / n)
    np.testing.assert_allclose(fine.mean(axis=1), grid.psi_deg, atol=1e-9)


def test_rotations_are_those_of_directions_and_angles():
    grid = make_in_plane_grid(12.0, perturbation=-0.4)
    assert grid.fine_directions().shape == grid.coarse_directions().shape == (1, 3, 3)
    chosen = np.arange(grid.fine_psi_rad().size)
    found = grid.fine_matrices(np.zeros_like(chosen), chosen)
    turns = euler_to_matrix(0, 0, np.degrees(grid.fine_psi_rad()))
    np.testing.assert_allclose(found, turns @ grid.fine_directions()[0], atol=1e-12)


def test_the_perturbation_turns_in_the_plane_by_a_part_of_the_step():
    grid = make_in_plane_grid(12.0, perturbation=0.25)
    euler = matrix_to_euler(grid.coarse_matrices(np.arange(5)))
    np.testing.assert_array_equal(euler[:, :2], 0.0)
    np.testing.assert_allclose(euler[:, 2], np.arange(5) * 12.0 + 3.0)


@pytest.mark.parametrize("step", [0.0, -1.0, 361.0])
def test_steps_that_make_no_sense_are_refused(step):
    with pytest.raises(InputError, match="psi step"):
        make_in_plane_grid(step)


def test_oversampling_without_limit_is_refused():
    with pytest.raises(InputError, match="oversampling"):
        make_in_plane_grid(10.0, oversampling=9)
