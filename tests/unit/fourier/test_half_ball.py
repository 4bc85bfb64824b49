"""Rows of a padded half grid: nothing that sums reach is left out."""

from __future__ import annotations

import numpy as np
import pytest

from relion_mpi.fourier.half_ball import is_kept, n_kept, row_starts


@pytest.mark.parametrize("size", [5, 11, 35])
def test_every_corner_of_a_sample_within_reach_is_kept(size):
    reach = size // 2 - 1
    rng = np.random.default_rng(size)
    points = rng.normal(size=(4000, 3))
    points *= reach * rng.uniform(0.9, 1, (4000, 1)) / np.linalg.norm(points, axis=1)[:, None]
    points[:, 2] = np.abs(points[:, 2])
    corners = np.floor(points).astype(int)[:, None] + np.indices((2, 2, 2)).reshape(3, -1).T
    z, y, x = corners.reshape(-1, 3).T
    assert is_kept(size)[z + size // 2, y + size // 2, x].all()


def test_rows_follow_each_other_and_leave_out_about_half_of_a_large_grid():
    size = 131
    starts = row_starts(size)
    assert starts[0] == 0
    assert starts.size == size * size + 1
    np.testing.assert_array_equal(np.diff(starts).reshape(size, size), is_kept(size).sum(axis=2))
    assert n_kept(size) == is_kept(size).sum()
    # A ball fills pi / 6 of its cube; two voxels of margin add a little.
    assert 0.5 < n_kept(size) / (size * size * (size // 2 + 1)) < 0.6


def test_no_row_has_a_gap():
    kept = is_kept(23)
    assert (kept[:, :, 1:] <= kept[:, :, :-1]).all()
