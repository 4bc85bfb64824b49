"""Memory of a run of one process; tests/mpi has it on several ranks."""

from __future__ import annotations

import mmap

import numpy as np
import pytest

from relion_mpi.parallel import shared_memory
from relion_mpi.parallel.comm import World
from relion_mpi.parallel.shared_memory import share_on_node

ALONE = World(comm=None, rank=0, size=1)


@pytest.mark.parametrize("n_bytes", [0, 1, 4096, 10_001])
def test_one_process_gets_ordinary_memory_that_starts_at_a_page(n_bytes):
    with share_on_node(ALONE, n_bytes, 3) as memory:
        assert memory.data.size == n_bytes
        assert n_bytes == 0 or memory.data.ctypes.data % mmap.PAGESIZE == 0
        assert memory.data.flags.writeable
        assert memory.flags.tolist() == [0, 0, 0]
        assert memory.claim(memory.data)


def test_one_process_does_not_need_room_for_shared_memory(monkeypatch):
    monkeypatch.setattr(shared_memory, "free_shm_bytes", lambda: 0)
    with share_on_node(ALONE, 5000, 1) as memory:
        assert memory.data.size == 5000


def test_more_memory_than_the_host_promises_is_none(caplog):
    with share_on_node(ALONE, 1 << 60, 2) as memory:
        assert memory.data.size == 0
        assert memory.flags.size == 2
    assert "are refused" in caplog.text


def test_closed_memory_is_empty():
    memory = share_on_node(ALONE, 5000, 2)
    memory.close()
    memory.close()
    assert memory.data.size == memory.flags.size == 0


def test_after_a_failure_nobody_is_waited_for():
    calls = []
    data = np.zeros(8, np.uint8)
    with pytest.raises(KeyError):
        with shared_memory.NodeMemory(data, data, lambda: calls.append(1)):
            raise KeyError
    assert calls == []


def test_a_node_without_room_says_so(monkeypatch):
    def refuse(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(shared_memory.os, "statvfs", refuse)
    assert shared_memory.free_shm_bytes() == 0
