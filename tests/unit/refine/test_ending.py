"""A request to end is noticed, and leaves with a status of its own."""

from __future__ import annotations

import os
import signal
import time

import pytest

from relion_mpi.refine.ending import Ending
from relion_mpi.refine.pipeline_control import ABORT_NOW


def came(ending):
    deadline = time.monotonic() + 5
    while not ending.asked() and time.monotonic() < deadline:
        time.sleep(0.01)
    return ending.asked()


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_signal_asks_rank_0_to_end(number):
    ending, before = Ending(None), signal.getsignal(number)
    with ending.listening(0):
        assert not ending.asked()
        os.kill(os.getpid(), number)
        assert came(ending)
    assert ending.status == 75
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_other_ranks_leave_signals_to_rank_0(number):
    ending = Ending(None)
    with ending.listening(1):
        os.kill(os.getpid(), number)
        time.sleep(0.05)
        assert not ending.asked()
    assert ending.status == 0


def test_the_interface_asks_by_a_file(tmp_path):
    ending = Ending(tmp_path)
    assert not ending.asked()
    (tmp_path / ABORT_NOW).touch()
    assert ending.asked()
    assert ending.status == 2
    (tmp_path / ABORT_NOW).unlink()
    assert ending.asked()  # it stays so
