"""One copy of the images a node, seen by its working ranks; `tests/jobs` starts it."""

from __future__ import annotations

import mmap
import os
from types import SimpleNamespace

import numpy as np
import pytest

from relion_mpi.dataset.batches import Batch
from relion_mpi.dataset.image_cache import ImageCache, make_layout
from relion_mpi.dataset.stacks import StackReader
from relion_mpi.io.mrc import read_header, write_map
from relion_mpi.parallel import comm, roll_call, shared_memory
from relion_mpi.parallel.shared_memory import share_on_node

pytestmark = pytest.mark.mpi

N_BYTES, N_FLAGS = 3 * 4096 + 100, 7


def everybody(item):
    """Return what every rank says, on every rank."""
    return roll_call.tell(comm.world(), roll_call.gather(comm.world(), item))


def works():
    """Whether this rank works: all but the master of several."""
    job = comm.world()
    return job.size == 1 or job.rank != 0


def test_working_ranks_have_one_memory_and_the_master_has_none():
    job = comm.world()
    with share_on_node(job, N_BYTES, N_FLAGS) as memory:
        assert memory.data.size == (N_BYTES if works() else 0)
        assert memory.flags.tolist() == [0] * N_FLAGS
        everybody(None)
        writer = job.size - 1
        if job.rank == writer:
            memory.data[:] = np.arange(N_BYTES) % 251
            memory.flags[3] = 9
        everybody(None)
        if works():
            np.testing.assert_array_equal(memory.data, np.arange(N_BYTES) % 251)
            assert memory.flags.tolist() == [0, 0, 0, 9, 0, 0, 0]


def test_memory_starts_at_a_page():
    with share_on_node(comm.world(), N_BYTES, N_FLAGS) as memory:
        assert memory.data.size == 0 or memory.data.ctypes.data % mmap.PAGESIZE == 0


def test_untouched_memory_costs_nothing():
    before = shared_memory.free_shm_bytes()
    wanted = min(2 << 30, max(before // 2, 0))
    with share_on_node(comm.world(), wanted, N_FLAGS) as memory:
        held = sum(everybody(resident_bytes()))
        memory.data[-5:] = 1
        memory.data[:5] = 1
        assert sum(everybody(resident_bytes())) - held < 64 << 20
        assert before - shared_memory.free_shm_bytes() < max(wanted // 4, 1)
        everybody(None)


def resident_bytes():
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * mmap.PAGESIZE


def test_nothing_is_left_behind():
    before = set(os.listdir(shared_memory.SHM_FOLDER))
    everybody(None)
    with share_on_node(comm.world(), N_BYTES, N_FLAGS) as memory:
        memory.data[:1] = 1
        everybody(None)
        # The name has gone while the memory is in use, so an abort leaves nothing either.
        new = set(os.listdir(shared_memory.SHM_FOLDER)) - before
        assert not [name for name in new if "osc" in name or "shar" in name]
        everybody(None)
    assert memory.data.size == memory.flags.size == 0


def test_too_little_room_gives_less_memory(monkeypatch, caplog):
    monkeypatch.setattr(shared_memory, "free_shm_bytes", lambda: 5000)
    with share_on_node(comm.world(), N_BYTES, N_FLAGS) as memory:
        if comm.world().size > 2:
            assert memory.data.size == (5000 if works() else 0)
            assert ("--shm-size" in caplog.text) == (comm.world().rank == 1)
        else:
            # One working rank needs nothing of /dev/shm.
            assert memory.data.size == (N_BYTES if works() else 0)
            assert caplog.text == ""
        everybody(None)


def test_nothing_may_be_asked_for():
    with share_on_node(comm.world(), 0, 0) as memory:
        assert memory.data.size == memory.flags.size == 0


def test_memory_can_be_claimed_before_it_is_written_to():
    with share_on_node(comm.world(), N_BYTES, N_FLAGS) as memory:
        assert memory.claim(memory.data[4096:])
        everybody(None)


@pytest.mark.parametrize("half", [False, True])
def test_each_batch_is_read_by_one_rank_and_right_on_all(tmp_path_factory, half):
    """Ranks read all batches, each in its own order, one after the other."""
    job = comm.world()
    folder = roll_call.tell(job, tmp_path_factory.mktemp("stacks") if job.rank == 0 else None)
    images = np.random.default_rng(1).integers(-99, 99, (24, 34, 34)).astype(np.float32)
    if job.rank == 0:
        write_map(folder / "s.mrcs", images, 1.0, stack=True)
    everybody(None)
    headers = [read_header(folder / "s.mrcs")]
    particles = SimpleNamespace(stack_headers=headers, stack_file=np.zeros(24, np.int64))
    batches = [Batch(i, 0, np.arange(4 * i, 4 * i + 4)) for i in range(6)]
    layout = make_layout(particles, batches, 1 << 30, half=half)
    with share_on_node(job, layout.n_bytes, layout.n_batch) as memory:
        n_read = 0
        for turn in range(job.size):
            if turn == job.rank and works():
                n_read = read_all(layout, memory, headers, batches, images, first=turn)
            everybody(None)
        assert sum(everybody(n_read)) == len(batches)
        # Nothing of it is read twice at one time either.
        if works():
            assert read_all(layout, memory, headers, batches, images, first=job.rank) == 0
        everybody(None)


def test_ranks_that_read_one_batch_together_do_no_harm(tmp_path_factory):
    job = comm.world()
    folder = roll_call.tell(job, tmp_path_factory.mktemp("stacks") if job.rank == 0 else None)
    images = np.random.default_rng(1).integers(-99, 99, (40, 64, 64)).astype(np.float32)
    if job.rank == 0:
        write_map(folder / "s.mrcs", images, 1.0, stack=True)
    everybody(None)
    headers = [read_header(folder / "s.mrcs")]
    particles = SimpleNamespace(stack_headers=headers, stack_file=np.zeros(40, np.int64))
    batches = [Batch(i, 0, np.arange(4 * i, 4 * i + 4)) for i in range(10)]
    layout = make_layout(particles, batches, 1 << 30)
    with share_on_node(job, layout.n_bytes, layout.n_batch) as memory:
        everybody(None)
        if works():
            read_all(layout, memory, headers, batches, images, first=0)
            assert read_all(layout, memory, headers, batches, images, first=0) == 0
        everybody(None)


def read_all(layout, memory, headers, batches, images, first):
    """Check every batch, beginning with one of them; return how many were read from the file."""
    with StackReader(headers) as reader:
        cache = ImageCache(layout, memory.data, memory.flags, reader, claim=memory.claim)
        for i in np.roll(np.arange(len(batches)), -first).tolist():
            rows = batches[i].particles
            found = cache.read(i, np.zeros_like(rows), rows)
            assert np.shares_memory(found, memory.data)
            np.testing.assert_array_equal(found, images[rows])
        return reader.n_runs
