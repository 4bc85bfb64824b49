"""Local searches as RELION lists them."""

from __future__ import annotations

import numpy as np
import pytest

from relion_mpi.geometry.euler import euler_to_matrix
from relion_mpi.geometry.symmetry import point_group
from relion_mpi.sampling.local import local_orientations
from relion_mpi.sampling.local_euler import local_orientations_by_euler
from relion_mpi.sampling.orientations import make_orientation_grid


def search(eulers, sigma=7.5, name="C1"):
    grid = make_orientation_grid(3, point_group(name))
    return grid, local_orientations_by_euler(grid, np.atleast_2d(np.asarray(eulers, float)), sigma)


def test_directions_and_psi_lie_within_three_sigma():
    euler = np.array([33.0, 71.0, -170.0])
    grid, found = search(euler)
    direction, psi = np.divmod(found.orient, grid.n_psi)
    views = euler_to_matrix(grid.rot_deg, grid.tilt_deg, 0.0)[:, 2]
    away = np.degrees(np.arccos(views @ euler_to_matrix(*euler)[0, 2]))
    turned = np.abs((grid.psi_deg + 170.0 + 180.0) % 360.0 - 180.0)
    assert set(direction) == set(np.flatnonzero(away < 22.5))
    assert set(psi) == set(np.flatnonzero(turned < 22.5))
    assert len(found.orient) == len(set(direction)) * len(set(psi))


def test_priors_fall_as_gaussians_of_both_angles_around_mean_one():
    euler = np.array([33.0, 71.0, -170.0])
    grid, found = search(euler)
    direction, psi = np.divmod(found.orient, grid.n_psi)
    views = euler_to_matrix(grid.rot_deg, grid.tilt_deg, 0.0)[:, 2]
    away = np.degrees(np.arccos(views @ euler_to_matrix(*euler)[0, 2]))[direction]
    turned = ((grid.psi_deg + 170.0 + 180.0) % 360.0 - 180.0)[psi]
    expected = -(away**2 + turned**2) / (2 * 7.5**2)
    np.testing.assert_allclose(np.exp(found.log_prior).mean(), 1.0)
    np.testing.assert_allclose(found.log_prior - found.log_prior[0], expected - expected[0])


def test_the_psi_of_the_old_pose_serves_for_mates_as_well():
    # The mate of this view is in the asymmetric unit; psi stays as it is.
    grid, found = search([33.0, 110.0, 50.0], name="D2")
    psi = grid.psi_deg[found.orient % grid.n_psi]
    assert np.abs(psi - 50.0).max() < 22.5


def test_the_nearest_orientation_stays_where_none_is_in_range():
    grid, found = search([33.0, 71.0, 20.0], sigma=0.01)
    assert found.orient.size == 1
    turned = grid.coarse_matrices(found.orient)[0] @ euler_to_matrix(33.0, 71.0, 20.0)[0].T
    assert np.degrees(np.arccos((np.trace(turned) - 1) / 2)) < 10.0


@pytest.mark.parametrize("tilt", [60.0, 100.0])
def test_away_from_poles_and_seams_it_is_our_own_search_of_about_the_same_size(tilt):
    euler = np.array([[33.0, tilt, 20.0]])
    grid, found = search(euler)
    own = local_orientations(grid, euler_to_matrix(*euler.T), 7.5)
    assert found.orient.size == pytest.approx(own.orient.size, rel=0.3)
    best = found.orient[found.log_prior.argmax()]
    assert best == own.orient[own.log_prior.argmax()]


def test_no_images_make_an_empty_list():
    grid = make_orientation_grid(2, point_group("C1"))
    found = local_orientations_by_euler(grid, np.empty((0, 3)), 5.0)
    assert found.n_img == 0
    assert found.orient.size == 0
