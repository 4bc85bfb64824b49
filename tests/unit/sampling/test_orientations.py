"""Orientation grids."""

from __future__ import annotations

import numpy as np
import pytest

from relion_mpi.core.errors import InputError
from relion_mpi.geometry import healpix
from relion_mpi.geometry.euler import directions, euler_to_matrix
from relion_mpi.geometry.symmetry import point_group
from relion_mpi.sampling.orientations import make_orientation_grid

# Number of directions in sampling.star of RELION 3.1.3.
RELION_COUNTS = {
    ("C1", 2): 192, ("C3", 1): 14, ("C3", 3): 248, ("D1", 2): 96, ("D2", 2): 48, ("D3", 3): 129,
    ("D3", 4): 503, ("O", 2): 7, ("O", 3): 32, ("O", 4): 126, ("I1", 2): 3, ("I1", 4): 49,
    ("I2", 3): 11, ("I2", 4): 48, ("I3", 2): 4, ("I3", 4): 53, ("I4", 2): 2, ("I4", 5): 196,
}  # fmt: skip


@pytest.mark.parametrize(("case", "count"), RELION_COUNTS.items())
def test_there_are_as_many_directions_as_in_relion(case: tuple[str, int], count: int):
    assert make_orientation_grid(case[1], point_group(case[0])).n_dir == count


def test_octahedral_order_3_starts_as_in_relion():
    grid = make_orientation_grid(3, point_group("O"))
    expected = [
        (83.571429, 41.858792), (61.875, 48.189685), (50.625, 48.189685), (57.857143, 41.858792),
        (70.714286, 41.858792), (82.5, 35.659088), (67.5, 35.659088), (81.0, 29.565561),
        (52.5, 35.659088), (63.0, 29.565561), (78.75, 23.556464), (56.25, 23.556464),
        (75.0, 17.612439), (67.5, 11.715852), (135.0, 54.314665), (129.375, 48.189685),
    ]  # fmt: skip
    ours = np.stack([grid.rot_deg, grid.tilt_deg], axis=1)[: len(expected)]
    assert np.allclose(ours, expected, atol=1e-6)


def test_icosahedral_order_2_is_that_of_relion():
    grid = make_orientation_grid(2, point_group("I1"))
    assert np.allclose(grid.rot_deg, [180, 180, 168.75])
    assert np.allclose(grid.tilt_deg, [120, 99.594068, 90])


@pytest.mark.parametrize("name", ["C5", "D2", "T", "O", "I1", "I2", "I3", "I4"])
def test_every_direction_of_the_sphere_has_a_near_mate_in_the_grid(name: str):
    order, group = 4, point_group(name)
    grid = make_orientation_grid(order, group)
    kept = directions(grid.rot_deg, grid.tilt_deg)
    mates = (kept[:, None, None, :] @ group.operators).reshape(-1, 3)
    everywhere = directions(*healpix.pixel_angles(order + 1))
    nearest = np.arccos(np.clip((everywhere @ mates.T).max(axis=1), -1, 1))
    # HEALPix does not have the symmetry of the group: at the sharp corners of the unit (36 degrees
    # in I1 to I4) the nearest centre can lie more than one pixel away
    assert nearest.max() < 2.0 * healpix.max_pixel_radius_rad(order)


@pytest.mark.parametrize("name", ["D2", "T", "O", "I1"])
def test_no_two_directions_are_mates(name: str):
    grid = make_orientation_grid(3, point_group(name))
    view = directions(grid.rot_deg, grid.tilt_deg)
    for operator in grid.group.operators:
        cosine = (view @ operator) @ view.T
        assert cosine[~np.eye(grid.n_dir, dtype=bool)].max() < np.cos(
            0.5 * healpix.max_pixel_radius_rad(3)
        )


def test_order_2_without_symmetry_has_4608_orientations():
    grid = make_orientation_grid(2, point_group("C1"))
    assert (grid.n_psi, grid.n_orient, grid.step_deg, grid.fine_step_deg) == (24, 4608, 15.0, 7.5)


def test_psi_step_becomes_a_divisor_of_360():
    grid = make_orientation_grid(0, point_group("C1"), psi_step_deg=7.0)
    assert grid.n_psi == 52
    assert np.isclose(grid.psi_step_deg, 360 / 52)


@pytest.mark.parametrize("perturbation", [0.0, -0.3])
def test_coarse_matrices_are_psi_turns_of_the_directions(perturbation: float):
    grid = make_orientation_grid(1, point_group("C2"), perturbation=perturbation)
    psi = grid.coarse_psi_rad()
    turn = euler_to_matrix(0, 0, np.degrees(psi))
    product = (turn[None] @ grid.coarse_directions()[:, None]).reshape(-1, 3, 3)
    assert np.allclose(product, grid.coarse_matrices(np.arange(grid.n_orient)), atol=1e-12)


def test_perturbation_is_a_turn_by_the_coarse_step_from_the_right():
    grid = make_orientation_grid(1, point_group("C1"), perturbation=0.4)
    q = euler_to_matrix(12.0, 12.0, 12.0)[0]
    index = 5 * grid.n_psi + 3
    expected = euler_to_matrix(grid.rot_deg[5], grid.tilt_deg[5], grid.psi_deg[3])[0] @ q
    assert np.allclose(grid.coarse_matrices([index])[0], expected)


@pytest.mark.parametrize("oversampling", [0, 1, 2])
def test_fine_matrices_are_those_of_the_healpix_children(oversampling: int):
    grid = make_orientation_grid(1, point_group("D2"), oversampling=oversampling, perturbation=0.25)
    i_dir, i_psi = grid.n_dir - 1, 7
    n_each, n_dir_each = 2**oversampling, 4**oversampling
    pixels = healpix.children(grid.healpix_pixel[i_dir : i_dir + 1], oversampling)[0]
    rot, tilt = healpix.pixel_angles(1 + oversampling)
    p = 0.25 * 30.0
    q = euler_to_matrix(p, p, p)[0]
    for j, pixel in enumerate(pixels):
        for k in range(n_each):
            psi = grid.psi_deg[i_psi] - 15.0 + (k + 0.5) * 30.0 / n_each
            expected = euler_to_matrix(rot[pixel], tilt[pixel], psi)[0] @ q
            fine = (i_dir * n_dir_each + j, i_psi * n_each + k)
            assert np.allclose(grid.fine_matrices([fine[0]], [fine[1]])[0], expected)
            turn = euler_to_matrix(0, 0, np.degrees(grid.fine_psi_rad()[fine[1]]))[0]
            assert np.allclose(turn @ grid.fine_directions()[fine[0]], expected)


def test_tilt_limit_keeps_side_views():
    grid = make_orientation_grid(2, point_group("C1"), limit_tilt_deg=20.0)
    assert 0 < grid.n_dir < 192
    assert np.abs(grid.tilt_deg - 90).max() <= 20.0


def test_negative_tilt_limit_keeps_top_views():
    grid = make_orientation_grid(2, point_group("C1"), limit_tilt_deg=-20.0)
    assert 0 < grid.n_dir < 192
    assert (90 - np.abs(grid.tilt_deg - 90)).max() <= 20.0


def test_a_grid_too_coarse_for_its_group_is_refused():
    with pytest.raises(InputError, match="order 1 has no view direction"):
        make_orientation_grid(1, point_group("I4"), limit_tilt_deg=1.0)


@pytest.mark.parametrize("order", [-1, 9])
def test_orders_out_of_range_are_refused(order: int):
    with pytest.raises(InputError, match="out of range"):
        make_orientation_grid(order, point_group("C1"))
