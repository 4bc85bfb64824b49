"""Large arrays to all ranks and their sums, however ranks share nodes; `tests/jobs` starts it."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from relion_mpi.parallel import comm, relay
from relion_mpi.parallel.shared_memory import NodeMemory

pytestmark = pytest.mark.mpi

NODES = {
    "one node": lambda rank: 0,
    "two ranks a node": lambda rank: rank // 2,
    "rank 0 alone": lambda rank: min(rank, 1),
    "the last rank alone": lambda rank: int(rank == comm.world().size - 1),
    "each rank alone": lambda rank: rank,
}


@pytest.fixture(params=NODES)
def nodes(request, monkeypatch):
    """Pretend that ranks are on several nodes."""
    node_of = NODES[request.param]
    monkeypatch.setattr(
        comm, "split_by_node", lambda ranks: ranks.Split(node_of(ranks.rank), ranks.rank)
    )


@pytest.fixture(params=[64, 1 << 14, 1 << 24])
def chunk_bytes(request, monkeypatch):
    monkeypatch.setattr(relay, "CHUNK_BYTES", request.param)


def check(made, n):
    """Send n numbers around and add them up, twice: what is shared is used again."""
    ranks = comm.world().comm
    for turn in (1, 2):
        sent = np.arange(n, dtype=np.int16) + turn
        found = sent.copy() if ranks.rank == 0 else np.zeros_like(sent)
        made.broadcast(found)
        np.testing.assert_array_equal(found, sent)
        mine = np.arange(n, dtype=np.float32) * ranks.rank * turn
        if ranks.rank:
            made.add_to_sum(mine)
            continue
        total = made.sum_at_master((n,))
        assert total.dtype == np.float64
        np.testing.assert_array_equal(
            total, np.arange(n) * (turn * ranks.size * (ranks.size - 1) // 2)
        )


@pytest.mark.usefixtures("nodes", "chunk_bytes")
@pytest.mark.parametrize("n", [0, 1, 9, 9000])
def test_arrays_arrive_and_add_up(n):
    with contextlib.closing(relay.relay_of(comm.world().comm)) as made:
        check(made, n)


@pytest.mark.usefixtures("nodes")
def test_a_node_without_shared_memory_takes_part(monkeypatch):
    last = comm.world().rank == comm.world().size - 1
    monkeypatch.setattr(NodeMemory, "claim", lambda memory, part: not last)
    with contextlib.closing(relay.relay_of(comm.world().comm)) as made:
        check(made, 9000)


def test_a_full_shm_is_not_touched(monkeypatch):
    def refuse(*_):
        pytest.fail("shared memory was asked for")

    monkeypatch.setattr(relay, "free_shm_bytes", lambda: 4096)
    monkeypatch.setattr(relay, "share_among", refuse)
    with contextlib.closing(relay.relay_of(comm.world().comm)) as made:
        check(made, 100)


def test_ranks_of_a_node_add_up_in_their_order():
    """Float64 sums depend on their order: it must be that of the ranks, whatever the chunks."""
    ranks = comm.world().comm
    values = [np.random.default_rng(rank).normal(size=9000) for rank in range(ranks.size)]
    with contextlib.closing(relay.relay_of(ranks)) as made:
        if ranks.rank:
            made.add_to_sum(values[ranks.rank])
            return
        total = made.sum_at_master((9000,))
    expected = np.zeros(9000)
    for one in values[1:]:
        expected += one
    np.testing.assert_array_equal(total, expected)
