"""Signs of life, and what is made of their absence. Jobs that stall are in tests/jobs."""

from __future__ import annotations

import numpy as np
import pytest

from relion_mpi.parallel import heartbeat
from relion_mpi.parallel.heartbeat import PATIENCE, Alive, Pulse, StalledError, Watch

LIMIT = 100.0


class Clock:
    def __init__(self):
        self.now = 1000.0
        self.used = 5.0

    def __call__(self):
        return self.now

    def work_seconds(self):
        return self.used


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def dumped(monkeypatch):
    said = []
    monkeypatch.setattr(heartbeat, "_dump", said.append)
    return said


@pytest.fixture
def sent():
    return []


@pytest.fixture
def pulse(clock, sent, dumped):
    return Pulse(sent.append, 3, LIMIT, clock, clock.work_seconds)


def live(pulse, clock, seconds, *, is_working, work=0.0):
    """Poll every second; `work` is the share of a core that the threads use."""
    for _ in range(int(seconds)):
        clock.now += 1
        clock.used += work
        pulse.poll(is_working=is_working)


def listen(watch, clock, seconds, *speakers):
    for _ in range(int(seconds)):
        clock.now += 1
        for rank in speakers:
            watch.heard(rank, Alive("node1"))
        watch.check()


# A worker


def test_a_waiting_worker_gives_twenty_signs_in_the_limit(pulse, clock, sent):
    live(pulse, clock, LIMIT, is_working=False)
    assert len(sent) == 1 + 20
    assert not any(sign.stalled_seconds or sign.doing for sign in sent)


def test_a_worker_without_tasks_never_stalls(pulse, clock, sent, dumped):
    live(pulse, clock, 5 * LIMIT, is_working=False)
    assert sent[-1].stalled_seconds == 0
    assert dumped == []


def test_idle_threads_with_a_task_stall_after_the_limit_and_show_stacks_once(
    pulse, clock, sent, dumped
):
    pulse.moved()
    live(pulse, clock, LIMIT, is_working=True)
    assert sent[-1].stalled_seconds == 0
    live(pulse, clock, 0.5 * LIMIT, is_working=True)
    assert sent[-1].stalled_seconds > LIMIT
    assert len(dumped) == 1
    assert "rank 3" in dumped[0]


def test_a_task_that_uses_the_processor_may_take_longer_but_not_for_ever(pulse, clock, sent):
    live(pulse, clock, (PATIENCE - 0.1) * LIMIT, is_working=True, work=0.5)
    assert sent[-1].stalled_seconds == 0
    live(pulse, clock, 0.2 * LIMIT, is_working=True, work=0.5)
    assert sent[-1].stalled_seconds > 0


def test_results_keep_a_worker_alive(pulse, clock, sent):
    for _ in range(10):
        live(pulse, clock, 0.8 * LIMIT, is_working=True)
        pulse.moved()
    assert not any(sign.stalled_seconds for sign in sent)


def test_a_worker_that_was_asleep_as_a_whole_has_not_stalled(pulse, clock, sent):
    live(pulse, clock, 10, is_working=True)
    clock.now += 10 * LIMIT
    live(pulse, clock, 10, is_working=True)
    assert sent[-1].stalled_seconds == 0


# The master


def test_a_silent_worker_is_named_with_its_host(clock):
    watch = Watch(range(1, 4), LIMIT, clock)
    watch.heard(2, Alive("node7"))
    listen(watch, clock, LIMIT, 1, 3)
    with pytest.raises(StalledError, match="rank 2 on node7 has been silent for 101 s"):
        listen(watch, clock, 2, 1, 3)


def test_a_worker_that_was_never_heard_is_named(clock):
    watch = Watch(range(1, 2), LIMIT, clock)
    with pytest.raises(StalledError, match="rank 1 on an unknown host"):
        listen(watch, clock, LIMIT + 2)


def test_the_time_that_the_master_does_not_listen_is_not_silence(clock):
    watch = Watch(range(1, 3), LIMIT, clock)
    for _ in range(10):
        clock.now += 50 * LIMIT
        watch.check()
    listen(watch, clock, LIMIT / 4, 1, 2)


def test_who_announced_work_of_its_own_has_more_time(clock):
    watch = Watch(range(1, 2), LIMIT, clock)
    watch.heard(1, Alive("node1", "getting ready"))
    listen(watch, clock, (PATIENCE - 0.1) * LIMIT)
    with pytest.raises(StalledError, match=r"rank 1 on node1 \(getting ready\) has been silent"):
        listen(watch, clock, 0.2 * LIMIT)


def test_a_worker_that_says_it_stalled_is_believed(clock):
    watch = Watch(range(1, 2), LIMIT, clock)
    with pytest.raises(StalledError, match="rank 1 on node1 has made no progress for 130 s"):
        watch.heard(1, Alive("node1", "", 130.0))


def test_results_are_signs_of_life(clock):
    watch = Watch(range(1, 2), LIMIT, clock)
    for _ in range(5):
        listen(watch, clock, 0.9 * LIMIT)
        watch.heard(1)


# The limit


def test_the_limit_comes_from_the_environment(monkeypatch):
    monkeypatch.delenv(heartbeat.VARIABLE, raising=False)
    assert heartbeat.stall_seconds() == heartbeat.DEFAULT_SECONDS
    monkeypatch.setenv(heartbeat.VARIABLE, "2.5")
    assert heartbeat.stall_seconds() == 2.5


def test_zero_is_for_ever(monkeypatch, clock, sent, dumped):
    monkeypatch.setenv(heartbeat.VARIABLE, "0")
    limit = heartbeat.stall_seconds()
    assert limit == np.inf
    watch, pulse = Watch(range(1, 2), limit, clock), Pulse(sent.append, 1, limit, clock)
    for _ in range(5):
        clock.now += 1e6
        watch.check()
        pulse.poll(is_working=True)
    assert sent[-1].stalled_seconds == 0
    assert dumped == []
