"""Cores shared among workers."""

from __future__ import annotations

import logging

import numba
import pytest

from relion_mpi.parallel import threads
from relion_mpi.parallel.comm import World

ALONE = World(comm=None, rank=0, size=1)


@pytest.mark.parametrize(
    ("n_cores", "n_workers", "share"), [(8, 1, 8), (8, 4, 2), (8, 3, 2), (2, 5, 1), (3, 3, 1)]
)
def test_unbound_workers_share_alike(n_cores, n_workers, share):
    cores = range(n_cores)
    assert threads.share_of_cores(cores, [cores] * n_workers) == share


def test_bound_workers_keep_their_own_cores():
    assert threads.share_of_cores([4, 5, 6, 7], [[0, 1, 2, 3], [4, 5, 6, 7]]) == 4


def test_a_lone_process_uses_every_core_that_it_may(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {1, 3, 5})
    monkeypatch.setattr(threads, "_quota_cores", lambda: None)
    assert threads.threads_per_rank(ranks=ALONE) == 3


def test_a_container_limited_by_time_lowers_the_share(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr(threads, "_quota_cores", lambda: 2)
    assert threads.threads_per_rank(ranks=ALONE) == 2


def test_what_the_user_asks_for_is_taken_and_told(caplog):
    with caplog.at_level(logging.INFO):
        assert threads.threads_per_rank(7, ALONE) == 7
    assert "7 thread(s)" in caplog.text
    assert "as requested" in caplog.text


def test_set_threads_limits_numba():
    before = numba.get_num_threads()
    try:
        threads.set_threads(1)
        assert numba.get_num_threads() == 1
    finally:
        numba.set_num_threads(before)


def test_more_threads_than_numba_has_is_a_warning_not_a_failure(caplog):
    before = numba.get_num_threads()
    try:
        threads.set_threads(100_000)
    finally:
        numba.set_num_threads(before)
    assert "100000 threads asked for" in caplog.text
