import logging

import pytest

from relion_mpi.refine import memory
from relion_mpi.refine.memory import MemoryNeed, available_bytes, memory_need, say_need

CPU = {"on_gpu": False, "double": False}


def test_twice_the_box_needs_eight_times_the_memory():
    small, large = memory_need(128, 2, 1, **CPU), memory_need(256, 2, 1, **CPU)
    assert large.worker_bytes / small.worker_bytes == pytest.approx(8, rel=0.05)
    assert large.master_bytes / small.master_bytes == pytest.approx(8, rel=0.05)


def test_the_sums_of_both_halves_alone_are_less_than_a_worker_needs():
    sums = 2 * 259 * 259 * 130 * 3 * 8
    assert sums < memory_need(128, 2, 1, **CPU).worker_bytes < 4 * sums


def test_too_little_free_memory_is_told_before_the_start(monkeypatch, caplog):
    monkeypatch.setattr(memory, "available_bytes", lambda: 2.0**30)
    with caplog.at_level(logging.INFO):
        say_need(MemoryNeed(2.0**30, 2.0**30), 2, together=False)
    assert "3.0 GiB on this node" in caplog.text
    assert "--pad 1" in caplog.text


def test_enough_memory_gives_no_warning(monkeypatch, caplog):
    monkeypatch.setattr(memory, "available_bytes", lambda: 2.0**40)
    with caplog.at_level(logging.WARNING):
        say_need(MemoryNeed(2.0**30, 2.0**30), 2, together=False)
    assert caplog.text == ""


def test_the_free_memory_of_this_host_is_positive():
    free = available_bytes()
    assert free is None or free > 0
