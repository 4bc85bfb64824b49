"""Large arrays over MPI: from rank 0 to all, and their sums to rank 0 in double precision.

Ranks of a node meet in memory that they share (`NodeMemory`): what comes lies there once for all to
copy, and of a sum each rank adds up a segment. Between nodes the first rank of each speaks MPI.
Where nothing can be shared, every rank counts as a node of its own.

All goes in chunks. Ranks wait for the last one without spinning (`quiet.barrier`); then the
blocking collectives run, which are several times faster than their non-blocking forms tested from
Python.
"""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.parallel import comm, quiet
from relion_mpi.parallel.shared_memory import free_shm_bytes, share_among

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    from mpi4py import MPI

    from relion_mpi.parallel.shared_memory import NodeMemory

# Keeps counts far below MPI's 2^31 and bounds what a reduction needs besides the sums.
CHUNK_BYTES = int(os.environ.get("RELION_MPI_CHUNK_BYTES", 1 << 24))
NODE_CHUNK_BYTES = 1 << 22
"""Most bytes of a chunk in shared memory: each rank of a node has room for one."""
NODE_BYTES = 1 << 26
"""Most bytes of shared memory for all of them."""


class Relay:
    """Brings arrays to all ranks and sums to rank 0; made by `relay_of`, collective as all here.

    Parameters
    ----------
    ranks
        All ranks.
    leaders
        The first rank of each node; None on the others.
    node
        Ranks of this node; None where they share nothing.
    memory
        Of the node: a slot for each of its ranks, and one more.
    chunk_bytes
        Of what is moved at once; the same on all ranks, at most that of a slot.
    """

    def __init__(
        self,
        ranks: MPI.Intracomm,
        leaders: MPI.Comm | None,
        chunk_bytes: int,
        node: MPI.Comm | None = None,
        memory: NodeMemory | None = None,
    ) -> None:
        self._ranks, self._leaders, self._node, self._memory = ranks, leaders, node, memory
        self._chunk_bytes = chunk_bytes
        self._is_master = ranks.Get_rank() == 0
        self._several_nodes = leaders is not None and leaders.Get_size() > 1
        self._slots: list[npt.NDArray[np.uint8]] = []
        self._givers: list[int] = []
        if node is not None and memory is not None:
            self._slots = list(memory.data.reshape(node.Get_size() + 1, -1))
            # Rank 0 only takes.
            self._givers = list(range(int(node.bcast(self._is_master)), node.Get_size()))

    def broadcast(self, array: npt.NDArray[Any]) -> None:
        """Send `array` of rank 0 into `array` of every other rank.

        Parameters
        ----------
        array
            Any dtype without objects, C-contiguous, the same size on all ranks.
        """
        flat = array.reshape(-1).view(np.uint8) if array.nbytes else np.empty(0, np.uint8)
        quiet.barrier(self._ranks)
        for k, part in enumerate(_parts(flat.size, self._chunk_bytes)):
            if self._node is None:
                assert self._leaders is not None
                self._leaders.Bcast(flat[part], root=0)
            else:
                self._spread(flat[part], self._slots[-1 - k % 2][: part.stop - part.start])

    def sum_at_master(self, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
        """Return the sum of the workers' arrays; the master's half of a reduction.

        Parameters
        ----------
        shape
            Of the sum; partner: `add_to_sum` on every other rank.

        Returns
        -------
        ndarray
            float64. Workers of a node are added up in the order of their ranks.
        """
        total = np.zeros(shape, dtype=np.float64)
        self._reduce(total.reshape(-1), total.reshape(-1))
        return total

    def add_to_sum(self, array: npt.NDArray[Any]) -> None:
        """Add a worker's array to the master's sum, converted to float64 chunk by chunk.

        Parameters
        ----------
        array
            Real array of any dtype; partner: `sum_at_master` on rank 0.
        """
        self._reduce(array.reshape(-1), None)

    def close(self) -> None:
        """Give back what it took; `ranks` stays."""
        self._slots = []
        if self._memory is not None:
            self._memory.close()
        if self._leaders is not None and self._leaders is not self._ranks:
            self._leaders.Free()
        if self._node is not None:
            self._node.Free()
        self._leaders = self._node = self._memory = None

    def _spread(self, part: npt.NDArray[np.uint8], slot: npt.NDArray[np.uint8]) -> None:
        """Bring a chunk to all ranks of all nodes.

        Slots take turns: whoever fills one has met, at the chunk between, all who read it.
        """
        assert self._node is not None
        if self._several_nodes:
            assert self._leaders is not None
            self._leaders.Bcast(part if self._is_master else slot, root=0)
        if self._is_master:
            np.copyto(slot, part)
        self._node.Barrier()
        if not self._is_master:
            np.copyto(part, slot)

    def _reduce(self, flat: npt.NDArray[Any], total: npt.NDArray[np.float64] | None) -> None:
        """Add up `flat` of all ranks but rank 0 in `total`, which rank 0 gives."""
        quiet.barrier(self._ranks)
        items = max(self._chunk_bytes // 8, 1)
        # One buffer for all chunks: fresh memory for each costs as much as the conversion.
        own = np.empty(min(flat.size, items) if self._node is None and total is None else 0)
        for k, part in enumerate(_parts(flat.size, items)):
            n = part.stop - part.start
            if self._node is None:
                found = own[:n]
                if total is None:
                    np.copyto(found, flat[part])
            else:
                found = self._sum_of_node(None if self._is_master else flat[part], n, k)
            if self._leaders is not None:
                self._sum_of_nodes(found, None if total is None else total[part])

    def _sum_of_node(
        self, mine: npt.NDArray[Any] | None, n: int, k: int
    ) -> npt.NDArray[np.float64]:
        """Return the sum of a node's chunks; its first rank takes it before the next chunk."""
        assert self._node is not None
        place, slots = self._node.Get_rank(), [one.view(np.float64)[:n] for one in self._slots]
        if len(self._givers) == 1:
            # Nothing to add: two slots take turns, and the first rank takes what it finds there.
            found = slots[self._givers[0] if k % 2 else -1]
            if mine is not None:
                np.copyto(found, mine)
            self._node.Barrier()
            return found
        if mine is not None:
            np.copyto(slots[place], mine)
        self._node.Barrier()
        found, size = slots[-1], self._node.Get_size()
        segment = slice(n * place // size, n * (place + 1) // size)
        np.add(
            slots[self._givers[0]][segment], slots[self._givers[1]][segment], out=found[segment]
        )
        for giver in self._givers[2:]:
            found[segment] += slots[giver][segment]
        # Afterwards slots may be filled again, while the first rank takes the sum.
        self._node.Barrier()
        return found

    def _sum_of_nodes(
        self, found: npt.NDArray[np.float64], total: npt.NDArray[np.float64] | None
    ) -> None:
        """Add up the chunks of all nodes at rank 0."""
        from mpi4py import MPI

        assert self._leaders is not None
        if total is None:
            self._leaders.Reduce(found, None, op=MPI.SUM, root=0)
            return
        if self._givers:
            np.copyto(total, found)
        if self._several_nodes:
            self._leaders.Reduce(MPI.IN_PLACE, total, op=MPI.SUM, root=0)


def relay_of(ranks: MPI.Intracomm, *, share: bool = True) -> Relay:
    """Make a relay; collective.

    Parameters
    ----------
    ranks
        All ranks; must stay until the relay is closed.
    share
        Whether ranks of a node may share memory. Where a rank may be lost they may not: the others
        would wait for it there and nobody would tell them.
    """
    from mpi4py import MPI

    if not share or ranks.Get_size() == 1:
        return Relay(ranks, ranks, CHUNK_BYTES)
    quiet.barrier(ranks)
    node = comm.split_by_node(ranks)
    assert isinstance(node, MPI.Intracomm)
    memory = _shared(node)
    n_slots = 1 if memory is None else node.Get_size() + 1
    chunk_bytes = ranks.allreduce(_slot_bytes(n_slots), op=MPI.MIN)
    if memory is None:  # alone on its node, or refused: each rank leads itself
        node.Free()
    is_leader = memory is None or node.Get_rank() == 0
    leaders = ranks.Split(0 if is_leader else MPI.UNDEFINED, key=ranks.Get_rank())
    mine = leaders if is_leader else None
    if memory is None:
        return Relay(ranks, mine, chunk_bytes)
    return Relay(ranks, mine, chunk_bytes, node, memory)


def shared_bytes(n_ranks: int) -> int:
    """Return the bytes that the ranks of a node share.

    Parameters
    ----------
    n_ranks
        On the node, rank 0 included.
    """
    return 0 if n_ranks < 2 else (n_ranks + 1) * _slot_bytes(n_ranks + 1)


def _slot_bytes(n_slots: int) -> int:
    """Return the bytes of a chunk where a node has so many slots; 1 is no node."""
    most = CHUNK_BYTES if n_slots == 1 else min(NODE_CHUNK_BYTES, NODE_BYTES // n_slots)
    return min(most, CHUNK_BYTES)


def _shared(node: MPI.Intracomm) -> NodeMemory | None:
    """Return a slot for each rank of a node and one more; None on all ranks if it is refused."""
    from mpi4py import MPI

    place, n_slots = node.Get_rank(), node.Get_size() + 1
    slot_bytes = -(-_slot_bytes(n_slots) // mmap.PAGESIZE) * mmap.PAGESIZE
    has_room = place > 0 or free_shm_bytes() >= n_slots * slot_bytes
    if n_slots == 2 or not node.allreduce(has_room, op=MPI.LAND):
        return None
    memory = share_among(node, n_slots * slot_bytes, 0)
    is_there = memory.data.size == n_slots * slot_bytes
    if is_there:
        # Each rank touches its own first, which decides whose memory node it is on.
        slots = memory.data.reshape(n_slots, slot_bytes)
        is_there = memory.claim(slots[place]) and (place > 0 or memory.claim(slots[-1]))
    if node.allreduce(is_there, op=MPI.LAND):
        return memory
    memory.close()
    return None


def sum_bytes(n: int) -> int:
    """Return the bytes of `n` numbers as they travel in a reduction.

    Parameters
    ----------
    n
        Elements of an array.
    """
    return 8 * n


def _parts(n: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, n)) for start in range(0, n, step))
