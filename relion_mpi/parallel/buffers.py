"""Large arrays over MPI: in chunks, sums in double precision.

Ranks wait for the last one without spinning (`quiet.barrier`); then the blocking collectives run,
which are several times faster than their non-blocking forms tested from Python.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.parallel import quiet

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    from mpi4py import MPI

# Keeps counts far below MPI's 2^31 and bounds what a reduction needs besides the sums.
CHUNK_BYTES = int(os.environ.get("RELION_MPI_CHUNK_BYTES", 1 << 24))


def broadcast(comm: MPI.Intracomm, array: npt.NDArray[Any]) -> None:
    """Send `array` of rank 0 into `array` of every other rank; collective.

    Parameters
    ----------
    comm
        Communicator.
    array
        Any dtype without objects, C-contiguous, the same size on all ranks.
    """
    flat = array.reshape(-1).view(np.uint8) if array.nbytes else np.empty(0, np.uint8)
    quiet.barrier(comm)
    for part in _parts(flat.size, CHUNK_BYTES):
        comm.Bcast(flat[part], root=0)


def sum_at_master(comm: MPI.Intracomm, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return the sum of the workers' arrays; the master's half of a reduction.

    Parameters
    ----------
    comm
        Communicator; partner: `add_to_sum` on every other rank.
    shape
        Shape of the sum.

    Returns
    -------
    ndarray
        float64.
    """
    from mpi4py import MPI

    total = np.zeros(shape, dtype=np.float64)
    flat = total.reshape(-1)
    quiet.barrier(comm)
    for part in _parts(flat.size, _chunk_items()):
        comm.Reduce(MPI.IN_PLACE, flat[part], op=MPI.SUM, root=0)
    return total


def add_to_sum(comm: MPI.Intracomm, array: npt.NDArray[Any]) -> None:
    """Add a worker's array to the master's sum, converted to float64 chunk by chunk.

    Parameters
    ----------
    comm
        Communicator; partner: `sum_at_master` on rank 0.
    array
        Real array of any dtype.
    """
    from mpi4py import MPI

    flat = array.reshape(-1)
    # One buffer for all chunks: fresh memory for each costs as much as the conversion.
    staging = np.empty(min(flat.size, _chunk_items()), dtype=np.float64)
    quiet.barrier(comm)
    for part in _parts(flat.size, _chunk_items()):
        chunk = staging[: part.stop - part.start]
        np.copyto(chunk, flat[part])
        comm.Reduce(chunk, None, op=MPI.SUM, root=0)


def sum_bytes(n: int) -> int:
    """Return the bytes of `n` numbers as they travel in a reduction.

    Parameters
    ----------
    n
        Elements of an array.
    """
    return 8 * n


def _chunk_items() -> int:
    return max(CHUNK_BYTES // 8, 1)


def _parts(n: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, n)) for start in range(0, n, step))
