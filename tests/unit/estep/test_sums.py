"""Sums of a half-set."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from factories.plans import BOX, batch, expectation

from relion_mpi.estep.sums import HalfSums

N = 4


def found(seed):
    """What a batch adds."""
    rng = np.random.default_rng(seed)
    return batch(N, seed), {
        "noise": rng.uniform(0, 1e-2, BOX // 2 + 1),
        "gated": (rng.uniform(size=N), rng.uniform(size=N)),
        "class_weight": rng.uniform(size=(N, 1)), "offset2": float(rng.uniform(0, 9)),
        "norm": rng.uniform(size=N), "evidence": rng.normal(size=N),
        "pmax": rng.uniform(size=N), "n_slices": 7, "n_significant": rng.integers(1, 9, N),
    }  # fmt: skip


def add(sums, batches):
    for particles, terms in batches:
        sums.add(particles, **terms)


@pytest.fixture(scope="module")
def plan():
    return expectation(1e-3).plan


def empty(plan):
    return HalfSums(SimpleNamespace(new_sums=lambda *_, **__: None), plan, 0)


def test_the_order_of_batches_does_not_change_a_bit(plan):
    forth, back = empty(plan), empty(plan)
    batches = [found(seed) for seed in range(20)]
    add(forth, batches)
    add(back, batches[::-1])
    np.testing.assert_array_equal(forth.statistics.packed(), back.statistics.packed())
    assert forth.statistics.n_particles == 20 * N


def test_threads_that_add_at_once_lose_nothing(plan):
    alone, together = empty(plan), empty(plan)
    batches = [found(seed) for seed in range(4)] * 1000
    add(alone, batches)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda k: add(together, batches[k::4]), range(4)))
    finally:
        sys.setswitchinterval(interval)
    np.testing.assert_array_equal(together.statistics.packed(), alone.statistics.packed())
