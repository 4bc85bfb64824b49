"""The book of tasks: whatever is lost is done again, and nothing is delivered twice."""

from __future__ import annotations

import numpy as np
import pytest

from relion_mpi.parallel.ledger import Entry, Ledger
from relion_mpi.parallel.messages import Task


def entry(number, *, is_summed=True):
    return Entry(Task(number, f"task {number}"), is_summed)


def numbers(ledger):
    return [one.task.number for one in ledger.again]


@pytest.fixture
def ledger():
    return Ledger([1, 2, 3], keeps_done=True)


def test_of_a_lost_worker_all_is_done_again_that_its_sums_or_itself_held(ledger):
    for number in range(4):
        ledger.give(2, entry(number))
    ledger.returned(2, 0)
    ledger.returned(2, 3)
    assert ledger.lose(2) == 4
    assert sorted(numbers(ledger)) == [0, 1, 2, 3]
    assert not ledger.any_held()


def test_what_is_not_summed_is_done_again_only_if_its_result_is_missing(ledger):
    for number in range(3):
        ledger.give(2, entry(number, is_summed=False))
    ledger.returned(2, 1)
    assert ledger.lose(2) == 2
    assert numbers(ledger) == [0, 2]


def test_sums_that_were_collected_are_not_lost(ledger):
    ledger.give(1, entry(0))
    ledger.returned(1, 0)
    ledger.collected()
    assert ledger.lose(1) == 0


def test_what_was_to_be_done_again_is_still_so_after_a_collection(ledger):
    ledger.give(1, entry(0))
    ledger.returned(1, 0)
    ledger.lose(1)
    ledger.collected()
    assert numbers(ledger) == [0]
    ledger.forget()
    assert numbers(ledger) == []


def test_a_result_that_is_told_twice_counts_once(ledger):
    ledger.give(1, entry(0))
    assert ledger.returned(1, 0) is not None
    assert ledger.returned(1, 0) is None
    assert ledger.lose(1) == 1


def test_a_task_that_never_reached_its_worker_is_taken_back(ledger):
    for number in range(3):
        ledger.give(3, entry(number))
    ledger.settle(3, [1])
    assert numbers(ledger) == [0, 2]
    assert ledger.n_held(3) == 1


def test_without_a_way_to_go_on_nothing_is_kept_of_what_is_done():
    ledger = Ledger([1], keeps_done=False)
    ledger.give(1, entry(0))
    ledger.returned(1, 0)
    assert ledger.lose(1) == 0


@pytest.mark.parametrize("seed", range(20))
def test_sums_are_whole_whoever_dies_when(seed):
    """Workers add numbers; some die; every number must be in the sums of the others once."""
    random = np.random.default_rng(seed)
    sums = {worker: 0 for worker in range(1, 6)}
    in_hand = {worker: [] for worker in sums}
    ledger = Ledger(sums, keeps_done=True)
    waiting, delivered = [entry(number) for number in range(60)], []
    while waiting or ledger.again or ledger.any_held():
        worker = int(random.choice(list(sums)))
        if len(sums) > 1 and random.random() < 0.03:
            del sums[worker], in_hand[worker]
            ledger.lose(worker)
        elif in_hand[worker] and random.random() < 0.5:
            done = in_hand[worker].pop(0)
            sums[worker] += done.task.number
            found = ledger.returned(worker, done.task.number)
            if not found.is_known:
                found.is_known = True
                delivered.append(done.task.number)
        elif ledger.again or waiting:
            one = ledger.again.popleft() if ledger.again else waiting.pop(0)
            ledger.give(worker, one)
            in_hand[worker].append(one)
    assert sum(sums.values()) == sum(range(60))
    assert sorted(delivered) == list(range(60))
