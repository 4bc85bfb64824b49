"""Local searches."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from relion_mpi.core.errors import InputError
from relion_mpi.geometry.euler import euler_to_matrix
from relion_mpi.geometry.symmetry import point_group
from relion_mpi.sampling.local import LocalSearch, local_orientations
from relion_mpi.sampling.orientations import OrientationGrid, make_orientation_grid


def random_rotations(n: int, seed: int = 5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    tilt = np.degrees(np.arccos(rng.uniform(-1, 1, n)))
    return euler_to_matrix(rng.uniform(-180, 180, n), tilt, rng.uniform(-180, 180, n))


def of_image(search: LocalSearch, i: int) -> tuple[np.ndarray, np.ndarray]:
    part = slice(search.offsets[i], search.offsets[i + 1])
    return search.orient[part], search.log_prior[part]


def rotation_angles_deg(grid: OrientationGrid, prior: np.ndarray) -> np.ndarray:
    """Smallest rotation angle between all coarse orientations and any mate of the prior."""
    matrices = grid.coarse_matrices(np.arange(grid.n_orient))
    mates = prior @ grid.group.operators
    trace = np.einsum("nij,rij->nr", matrices, mates).max(axis=1)
    return np.degrees(np.arccos(np.clip(0.5 * (trace - 1), -1, 1)))


@pytest.mark.parametrize("name", ["C1", "C4", "D2", "T", "O", "I1"])
def test_all_orientations_within_the_window_are_found_and_none_far_away(name: str):
    grid = make_orientation_grid(3, point_group(name))
    sigma = 7.5
    priors = random_rotations(6)
    search = local_orientations(grid, priors, sigma)
    for i, prior in enumerate(priors):
        angle = rotation_angles_deg(grid, prior)
        orient, _ = of_image(search, i)
        # a rotation by less than the window moves neither the view nor the in-plane angle further
        assert set(np.flatnonzero(angle < 3 * sigma - 1e-6)) <= set(orient)
        # both angles at the window make sqrt(2) windows at most
        assert angle[orient].max() < 3 * sigma * np.sqrt(2)


@pytest.mark.parametrize("name", ["C1", "D2", "O", "I1"])
def test_no_orientation_occurs_twice(name: str):
    grid = make_orientation_grid(2, point_group(name))
    search = local_orientations(grid, random_rotations(20), 15.0)
    for i in range(search.n_img):
        orient, _ = of_image(search, i)
        assert len(set(orient)) == len(orient) > 0


@pytest.mark.parametrize(("name", "order"), [("C1", 1), ("D2", 3), ("T", 4), ("I1", 5)])
def test_the_directions_in_range_are_those_of_a_comparison_with_all(name: str, order: int):
    grid = make_orientation_grid(order, point_group(name))
    sigma, priors = 60.0 / 2**order, random_rotations(40)
    search = local_orientations(grid, priors, sigma)
    views = euler_to_matrix(grid.rot_deg, grid.tilt_deg, 0.0)[:, 2]
    for i, prior in enumerate(priors):
        cosine = (views @ (prior @ grid.group.operators)[:, 2].T).max(axis=1)
        expected = np.flatnonzero(cosine > np.cos(np.radians(3 * sigma)))
        found = of_image(search, i)[0] // grid.n_psi
        assert np.array_equal(found[np.diff(found, prepend=-1) != 0], expected)  # and in order


@pytest.mark.parametrize("name", ["C1", "D2", "I1"])
def test_priors_of_an_image_have_a_mean_of_one(name: str):
    grid = make_orientation_grid(4, point_group(name))
    poles = euler_to_matrix([0.0, 20.0], [1.0, 179.0], 30.0)  # there windows of mates overlap
    search = local_orientations(grid, np.concatenate([random_rotations(20), poles]), 3.75)
    total = np.add.reduceat(np.exp(search.log_prior), search.offsets[:-1])
    assert np.allclose(total, np.diff(search.offsets))


def test_an_orientation_near_two_mates_has_the_prior_of_the_closer_one():
    # The prior looks along the twofold axis but for a degree: both mates see all directions.
    grid = make_orientation_grid(3, point_group("C2"))
    prior = euler_to_matrix([3.0], [1.0], [11.0])
    orient, log_prior = of_image(local_orientations(grid, prior, 60.0), 0)
    i_dir, i_psi = np.divmod(orient, grid.n_psi)
    assert len(orient) == grid.n_orient
    matrices, psi = euler_to_matrix(grid.rot_deg, grid.tilt_deg, 0.0), np.radians(grid.psi_deg)
    best = np.full(len(orient), -np.inf)
    for operator in grid.group.operators:
        m = matrices @ (prior[0] @ operator).T
        tilt = np.arccos(np.clip(m[:, 2, 2], -1, 1))
        closest = np.arctan2(m[:, 1, 0] - m[:, 0, 1], m[:, 0, 0] + m[:, 1, 1])
        turn = np.angle(np.exp(1j * (psi[i_psi] - closest[i_dir])))
        every = np.angle(np.exp(1j * (psi - closest[:, None])))
        width = 2 * np.radians(60.0) ** 2
        log_sum = np.log(np.exp(-(every**2) / width).sum(axis=1))
        best = np.maximum(best, -(tilt[i_dir] ** 2 + turn**2) / width - log_sum[i_dir])
    assert np.allclose(log_prior - log_prior.max(), best - best.max())


def test_several_threads_at_once_find_the_same():
    grid = make_orientation_grid(4, point_group("D2"))
    parts = [random_rotations(200, seed) for seed in range(8)]
    alone = [local_orientations(grid, part, 3.75) for part in parts]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda part: local_orientations(grid, part, 3.75), parts))
    for a, b in zip(alone, together, strict=True):
        assert np.array_equal(a.offsets, b.offsets)
        assert np.array_equal(a.orient, b.orient)
        assert np.array_equal(a.log_prior, b.log_prior)


def test_prior_falls_as_a_gaussian_of_both_angles():
    grid = make_orientation_grid(2, point_group("C1"))
    prior = grid.coarse_matrices([17 * grid.n_psi + 4])
    orient, log_prior = of_image(local_orientations(grid, prior, 10.0), 0)
    assert orient[log_prior.argmax()] == 17 * grid.n_psi + 4
    same_view = dict(zip(orient, log_prior, strict=True))
    drop = same_view[17 * grid.n_psi + 4] - same_view[17 * grid.n_psi + 5]
    assert np.isclose(drop, 15.0**2 / (2 * 10.0**2))


@pytest.mark.parametrize("tilt", [0.01, 179.99])
def test_at_the_poles_the_whole_ring_of_rot_is_searched(tilt: float):
    # rot - psi (or rot + psi) alone matters there: psi must follow rot
    grid = make_orientation_grid(3, point_group("C1"))
    prior = euler_to_matrix([100.0], [tilt], [-60.0])
    orient, _ = of_image(local_orientations(grid, prior, 7.5), 0)
    near = grid.rot_deg[orient // grid.n_psi]
    assert {int(r // 90) for r in near} == {-2, -1, 0, 1}
    assert rotation_angles_deg(grid, prior[0])[orient].min() < 7.5


def test_symmetry_mates_of_the_prior_give_the_same_search():
    grid = make_orientation_grid(3, point_group("O"))
    prior = random_rotations(1)
    mates = prior @ grid.group.operators
    search = local_orientations(grid, mates, 7.5)
    sets = {frozenset(of_image(search, i)[0].tolist()) for i in range(search.n_img)}
    assert len(sets) == 1


def test_without_any_in_range_the_nearest_is_kept():
    grid = make_orientation_grid(1, point_group("C1"))
    priors = random_rotations(10)
    search = local_orientations(grid, priors, 0.01)
    assert np.array_equal(np.diff(search.offsets), np.ones(10))
    assert np.allclose(search.log_prior, 0.0)
    views = grid.coarse_directions()[:, 2]
    assert np.array_equal(search.orient // grid.n_psi, (priors[:, 2] @ views.T).argmax(axis=1))


def test_perturbation_of_the_grid_does_not_matter():
    still = make_orientation_grid(2, point_group("C1"))
    moved = make_orientation_grid(2, point_group("C1"), perturbation=0.4)
    priors = random_rotations(5)
    a, b = (local_orientations(g, priors, 15.0) for g in (still, moved))
    assert np.array_equal(a.orient, b.orient)


def test_no_images_give_an_empty_search():
    grid = make_orientation_grid(1, point_group("C1"))
    search = local_orientations(grid, np.empty((0, 3, 3)), 10.0)
    assert (search.n_img, len(search.orient)) == (0, 0)


def test_sigma_must_be_positive():
    with pytest.raises(InputError, match="positive"):
        local_orientations(make_orientation_grid(0, point_group("C1")), np.eye(3)[None], 0.0)
