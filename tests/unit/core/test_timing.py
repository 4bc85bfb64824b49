"""Spans add up."""

from __future__ import annotations

import threading
import time

import pytest

from relion_mpi.core.timing import Stopwatch


def test_spans_of_the_same_name_add_up():
    watch = Stopwatch()
    for _ in range(2):
        with watch.span("read"):
            time.sleep(0.02)
    # sleep never returns early; the upper bound leaves room for a busy machine.
    assert 0.04 <= watch.as_dict()["read"] < 1.0


def test_a_span_that_raises_is_still_counted():
    watch = Stopwatch()
    with pytest.raises(KeyError), watch.span("work"):
        raise KeyError
    assert "work" in watch.as_dict()


def test_threads_do_not_lose_seconds():
    watch = Stopwatch()
    threads = [
        threading.Thread(target=lambda: [watch.add("x", 1.0) for _ in range(1000)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert watch.as_dict() == {"x": 4000.0}


def test_as_dict_is_a_copy_and_clear_forgets():
    watch = Stopwatch()
    watch.add("x", 1.0)
    watch.as_dict()["x"] = 5.0
    assert watch.as_dict() == {"x": 1.0}
    watch.clear()
    assert watch.as_dict() == {}
