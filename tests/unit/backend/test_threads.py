"""Sums do not depend on how many threads made them."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from factories.problem import problem

from relion_mpi.backend import select_backend
from relion_mpi.core.errors import InputError


@pytest.fixture
def threads():
    before = numba.get_num_threads()
    yield numba.set_num_threads
    numba.set_num_threads(before)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="only one core")
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_sums_are_bitwise_the_same_with_one_thread_and_two(threads, precision):
    backend = select_backend("cpu", precision)
    made = problem(5, n_class=2, snr=0.1, seed=1)
    found = []
    for n in (1, 2):
        threads(n)
        sums = made.new_sums(backend)
        _, moments = made.search(backend, sums)
        found.append((backend.fetch_sums(sums), moments))
    np.testing.assert_array_equal(found[0][0].volume, found[1][0].volume)
    np.testing.assert_array_equal(found[0][0].direction_weight, found[1][0].direction_weight)
    np.testing.assert_array_equal(found[0][1].cross, found[1][1].cross)


def test_an_unknown_backend_is_refused():
    with pytest.raises(InputError, match="choose one of cpu"):
        select_backend("abacus", "float32")


def test_an_unknown_precision_is_refused():
    with pytest.raises(InputError, match="float32, float64"):
        select_backend("cpu", "float16")
