"""Blocks of directions."""

from __future__ import annotations

import numpy as np
import pytest

from relion_mpi.geometry.symmetry import point_group
from relion_mpi.sampling.direction_tree import make_direction_tree
from relion_mpi.sampling.orientations import make_orientation_grid


@pytest.mark.parametrize("order", range(6))
@pytest.mark.parametrize("name", ["C1", "D2", "I1"])
def test_every_node_but_the_roots_and_every_direction_is_in_one_block(name: str, order: int):
    grid = make_orientation_grid(order, point_group(name))
    tree = make_direction_tree(grid, 0.1)
    blocks = [np.arange(a, b) for a, b in zip(tree.begin, tree.end, strict=True)]
    children = np.concatenate([*blocks[: tree.n_inner], np.zeros(0, int)])
    assert np.array_equal(children, np.arange(tree.n_root, len(tree.begin)))
    assert np.array_equal(np.concatenate(blocks[tree.n_inner :]), np.arange(grid.n_dir))


@pytest.mark.parametrize("window", [0.02, 0.3, 3.0])
def test_no_block_that_is_skipped_has_a_direction_in_the_window(window: float):
    grid = make_orientation_grid(4, point_group("T"))
    tree = make_direction_tree(grid, window)
    view = np.random.default_rng(0).normal(size=(200, 3))
    view /= np.linalg.norm(view, axis=1, keepdims=True)
    inside = list((view @ tree.views.T > np.cos(window)).T)  # of each direction, then of each node
    near: dict[int, np.ndarray] = {}
    for node in reversed(range(len(tree.begin))):
        below = range(tree.begin[node], tree.end[node])
        near[node] = np.any([near[k] if node < tree.n_inner else inside[k] for k in below], axis=0)
        skipped = view @ tree.centre[node] <= tree.cos_reach[node]
        assert not (near[node] & skipped).any()


def test_most_of_a_fine_grid_is_skipped():
    grid = make_orientation_grid(5, point_group("C1"))
    tree = make_direction_tree(grid, np.radians(3 * grid.step_deg))
    tested = (tree.centre[tree.n_inner :] @ [0.6, 0.0, 0.8] > tree.cos_reach[tree.n_inner :]).sum()
    assert tested < 20  # of 768, for 30 directions in range
