"""One process: what only the inline crew promises. The rest is in tests/mpi."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from relion_mpi.parallel.inline import InlineCrew


class Counting:
    def begin(self, message, arrays):
        self.arrays = arrays
        self.total = np.zeros(3, dtype=np.float32)

    def prepare(self, task):
        if task < 0:
            raise OSError(f"no image {task}")
        return threading.current_thread().name

    def work(self, task, prepared):
        self.total += task
        return prepared

    def sums(self):
        return [self.total]

    def counts(self):
        return {"images": 7}


@pytest.fixture
def crew():
    made = InlineCrew(Counting())
    made.begin(None, {"a": np.arange(3)})
    yield made
    made.close()


def test_preparation_happens_in_its_thread(crew):
    names = []
    crew.run([1, 2], lambda index, result: names.append(result))
    assert all(name.startswith("prepare") for name in names)
    assert len(names) == 2


def test_results_come_in_order(crew):
    order = []
    crew.run(list(range(9)), lambda index, result: order.append(index))
    assert order == list(range(9))


def test_a_failing_preparation_reaches_the_caller(crew):
    with pytest.raises(OSError, match="no image -1"):
        crew.run([1, -1], lambda index, result: None)


def test_the_sum_is_a_copy(crew):
    crew.run([1], lambda index, result: None)
    found = crew.reduce([(3,)])[0]
    crew.run([1], lambda index, result: None)
    np.testing.assert_array_equal(found, [1, 1, 1])


def test_closing_twice_is_harmless(crew):
    crew.close()
    crew.close()


def test_accounts_hold_what_the_worker_counts_and_begin_anew(crew):
    crew.run([1], lambda index, result: None)
    crew.reduce([(3,)])
    (first,) = crew.accounts().values()
    assert first["images"] == 7
    assert set(first) == {"images", "begin_seconds", "reduce_pack_seconds"}
    assert set(crew.accounts()[0]) == {"images"}
