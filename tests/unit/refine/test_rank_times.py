"""Seconds and bytes by rank, and what is said of them."""

from __future__ import annotations

import pytest

from relion_mpi.refine.rank_times import FIELDS, rank_times, remarks


def even(n_ranks=5, **changes):
    """An E-step of 100 s that all workers share evenly; `changes` are (rank, field) -> value."""
    workers = dict.fromkeys(FIELDS, 0.0) | {
        "estep_seconds": 95.0, "read_wait_seconds": 2.0, "idle_seconds": 3.0, "particles": 1000.0,
        "batches": 20.0, "bytes_read": 1e9, "read_seconds": 5.0, "bytes_sent": 5e8,
        "reduce_wait_seconds": 0.4, "reduce_transfer_seconds": 0.6,
    }  # fmt: skip
    master = dict.fromkeys(FIELDS, 0.0) | {"mstep_seconds": 4.0}
    return {0: master} | {rank: dict(workers) for rank in range(1, n_ranks)}


def test_even_ranks_are_not_worth_a_word():
    assert remarks(even()) == []
    assert remarks({0: dict.fromkeys(FIELDS, 0.0)}) == []
    assert remarks({}) == []


def test_a_slow_rank_is_named_by_its_time_for_a_particle():
    ranks = even()
    ranks[3]["particles"] = 1000 / 1.8  # in the same time
    (said,) = remarks(ranks)
    assert said.startswith("rank 3 took 1.8 times the median of the E-step for a particle")
    for one in ranks.values():
        one["estep_seconds"] /= 100
    assert remarks(ranks) == []


def test_idle_workers_are_told_with_who_was_last():
    ranks = even()
    for rank in (1, 3, 4):
        ranks[rank]["idle_seconds"] = 43.0
    ranks[2]["idle_seconds"] = 0.0
    (said,) = remarks(ranks)
    share = round(100 * 3 * 43 / (3 * 140 + 97))
    assert f"nothing to do in {share} % of the E-step" in said
    assert "rank 2 was the last one" in said


def test_waiting_for_images_is_told_with_their_speed():
    ranks = even()
    ranks[4] |= {"read_wait_seconds": 60.0, "estep_seconds": 37.0, "particles": 400.0,
                 "read_seconds": 100.0}  # fmt: skip
    (said,) = remarks(ranks)
    assert "rank 4 waited for images in 60 % of the E-step (1000 MB came at 10 MB/s)" in said
    assert "--scratch_dir" in said


def test_waiting_without_reading_is_not_put_down_to_the_disk():
    ranks = even()
    ranks[4] |= {"read_wait_seconds": 60.0, "estep_seconds": 37.0, "particles": 400.0,
                 "bytes_read": 0.0}  # fmt: skip
    (said,) = remarks(ranks)
    assert "rank 4 waited for batches to be made ready in 60 % of the E-step" in said
    assert "--scratch_dir" not in said


def test_one_process_too_is_told_that_it_waited_for_images():
    ranks = {0: even()[1] | {"read_wait_seconds": 60.0, "estep_seconds": 37.0}}
    (said,) = remarks(ranks)
    assert said.startswith("rank 0 waited for images")


def test_waiting_for_ranks_is_told_apart_from_moving_bytes():
    ranks = even()
    for rank in (0, 1, 3, 4):
        ranks[rank]["reduce_wait_seconds"] = 12.0
    (said,) = remarks(ranks)
    assert said == (
        "bringing the sums together: 12.0 s of waiting for rank 2, 0.6 s of moving 500 MB from "
        "each rank"
    )


def test_every_rank_has_every_field():
    accounts = {0: {"bytes_sent": 5.0}, 1: {"read_seconds": 2.0, "unknown": 1.0}}
    timings = {1: {"prepare_wait": 0.5, "work": 3.0, "idle": 0.25}}
    found = rank_times(accounts, timings, 7.0)
    assert all(tuple(one) == FIELDS for one in found.values())
    assert (found[0]["mstep_seconds"], found[0]["bytes_sent"]) == (7.0, 5.0)
    assert found[1] == pytest.approx(
        dict.fromkeys(FIELDS, 0.0)
        | {"read_seconds": 2.0, "read_wait_seconds": 0.5, "estep_seconds": 3.0,
           "idle_seconds": 0.25}
    )  # fmt: skip
