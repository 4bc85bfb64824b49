"""Euler angles and matrices."""

from __future__ import annotations

import numpy as np
import pytest

from relion_mpi.geometry.euler import (
    directions,
    euler_to_matrix,
    matrix_to_euler,
    mean_axis_distance_deg,
)
from relion_mpi.geometry.symmetry import axis_rotation, point_group


def random_angles(n: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    tilt = np.degrees(np.arccos(rng.uniform(-1, 1, n)))
    return rng.uniform(-180, 180, n), tilt, rng.uniform(-180, 180, n)


def test_matrix_has_the_golden_numbers_of_relion():
    expected = [
        [0.714610, 0.633718, -0.296198],
        [-0.613092, 0.771281, 0.171010],
        [0.336824, 0.059391, 0.939693],
    ]
    assert np.allclose(euler_to_matrix(10, 20, 30), [expected], atol=1e-6)


def test_angles_survive_the_round_trip():
    angles = np.stack(random_angles(200), axis=1)
    assert np.allclose(matrix_to_euler(euler_to_matrix(*angles.T)), angles, atol=1e-9)


@pytest.mark.parametrize("tilt", [0.0, 180.0])
def test_at_the_poles_rot_is_zero_and_the_matrix_survives(tilt: float):
    matrices = euler_to_matrix([10.0, -70.0], tilt, [25.0, 140.0])
    angles = matrix_to_euler(matrices)
    assert np.array_equal(angles[:, 0], [0.0, 0.0])
    assert np.allclose(angles[:, 1], tilt)
    assert np.allclose(euler_to_matrix(*angles.T), matrices, atol=1e-12)


def test_view_direction_is_the_third_row():
    rot, tilt, psi = random_angles(50)
    assert np.allclose(directions(rot, tilt), euler_to_matrix(rot, tilt, psi)[:, 2])


def test_tilt_90_shows_minus_z_along_x():
    # a map point (0, 0, 1) appears at image x = -1 for rot 0, tilt 90, psi 0
    assert np.allclose(euler_to_matrix(0, 90, 0)[0] @ [0, 0, 1], [-1, 0, 0])


def test_distance_of_an_in_plane_turn_is_two_thirds_of_its_angle():
    a = euler_to_matrix([10.0], [20.0], [30.0])
    b = euler_to_matrix([10.0], [20.0], [42.0])
    assert np.allclose(mean_axis_distance_deg(a, b, np.eye(3)[None]), 12.0 * 2 / 3)


def test_symmetry_mates_are_at_distance_zero():
    group = point_group("D3")
    a = euler_to_matrix(*random_angles(group.n_ops))
    mates = a @ group.operators
    # acos of a cosine rounded at 1 - 1e-16 is about 1e-6 degrees
    assert np.allclose(mean_axis_distance_deg(a, mates, group.operators), 0.0, atol=1e-5)


def test_a_turn_that_is_no_symmetry_is_at_a_distance():
    a = euler_to_matrix(*random_angles(5))
    turned = a @ axis_rotation((0, 0, 1), 60.0)
    assert mean_axis_distance_deg(a, turned, point_group("C3").operators).min() > 5.0


def test_mates_multiply_from_the_map_side():
    a = euler_to_matrix([30.0], [50.0], [70.0])
    group = point_group("C2")
    image_side = group.operators[1] @ a  # turns the image: another projection
    assert mean_axis_distance_deg(a, image_side, group.operators)[0] > 30.0


@pytest.mark.parametrize("name", ["C1", "D7", "O", "I1"])
@pytest.mark.parametrize("change_deg", [1.0, 40.0, 300.0])
def test_the_closest_mate_is_that_of_a_comparison_with_all(name: str, change_deg: float):
    operators = point_group(name).operators
    angles = np.stack(random_angles(200))
    a = euler_to_matrix(*angles)
    b = euler_to_matrix(*(angles + np.random.default_rng(2).normal(0, change_deg, angles.shape)))
    cosines = np.einsum("nij,rnij->rni", a, b @ operators[:, None])
    expected = np.degrees(np.arccos(np.clip(cosines, -1, 1))).mean(axis=2).min(axis=0)
    assert np.allclose(mean_axis_distance_deg(a, b, operators), expected, atol=1e-9)
