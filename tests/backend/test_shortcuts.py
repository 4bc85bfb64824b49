"""What tf32 gives up against float32 on a GPU: little, and known."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from factories.maps import blob_map
from factories.pixels import geometry
from factories.poses import random_matrices
from factories.problem import problem

from relion_mpi.backend import select_backend

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def pair():
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("CuPy is not installed")
    from relion_mpi.backend.gpu.device import n_devices

    if n_devices() == 0:
        pytest.skip("there is no CUDA device")
    return select_backend("gpu", "tf32"), select_backend("gpu", "float32")


def test_textures_round_the_fractions_to_eight_bits(pair):
    box, matrices = 32, random_matrices(20, 3)
    fast, exact = (
        one.project(
            one.load_references(blob_map(box, spread=0.1)[None], box // 2, 2), matrices,
            geometry(box),
        )
        for one in pair
    )  # fmt: skip
    difference = np.abs(fast - exact).max() / np.abs(exact).max()
    assert 0 < difference < 1 / 256


def test_the_best_samples_are_the_same(pair):
    made = problem(8, n_class=2, snr=0.3, seed=6)
    best = []
    for one in pair:
        sums = made.new_sums(one)
        best.append(made.search(one, sums)[0])
    for name in ("class_index", "fine_direction", "fine_psi", "fine_shift"):
        np.testing.assert_array_equal(getattr(best[0], name), getattr(best[1], name))
    np.testing.assert_allclose(best[0].max_weight, best[1].max_weight, atol=0.02)
