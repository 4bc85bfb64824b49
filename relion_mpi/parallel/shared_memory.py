"""One piece of memory per node that all its working ranks see.

The memory is a window of MPI (`MPI_Win_allocate_shared`). MPICH 5 and Open MPI 4 and 5 take it from
a file in /dev/shm that they unlink before anybody gets it, so an abort leaves nothing of it behind.
Pages cost nothing until they are first written to. These limits apply:

- /dev/shm is half of a node's memory by default; containers and batch systems may make it far
  smaller (Docker: 64 MB unless `--shm-size` says otherwise). What does not fit is not taken.
- What is written counts as memory of the job, also where a control group limits it.
- Others may fill /dev/shm during the run. Writing would then end in a bus error: ask
  `NodeMemory.claim` before a part is first written to.
- Open MPI can be told to put the file elsewhere (`--mca osc_sm_backing_directory`, or a temporary
  folder where /dev/shm cannot be written); it then refuses what does not fit there, and the run
  goes on without the memory.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import mmap
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.parallel import comm, quiet

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from mpi4py import MPI
    from numpy.typing import NDArray

    from relion_mpi.parallel.comm import World

log = logging.getLogger(__name__)

SHM_FOLDER = "/dev/shm"
# Left to MPI's own queues and to other programs.
_RESERVE_BYTES = 64 * 2**20
_GIB = 2.0**30
_MADV_POPULATE_WRITE = 23


class NodeMemory:
    """Bytes shared by the working ranks of a node; made by `share_on_node`.

    Attributes
    ----------
    data : uint8 (n_bytes,) uninitialised, starts at a page
    flags : uint8 (n_flags,) zero at the start
    """

    def __init__(
        self,
        data: NDArray[np.uint8],
        flags: NDArray[np.uint8],
        release: Callable[[], None] | None = None,
    ) -> None:
        self.data = data
        self.flags = flags
        self._release = release

    def claim(self, part: NDArray[np.uint8]) -> bool:
        """Make sure that a part of `data` can be written to.

        Parameters
        ----------
        part : uint8 (n,)
            Starts at a page.

        Returns
        -------
        bool
            False where /dev/shm is full. Linux before 5.14 cannot tell and says True.
        """
        if self._release is None or part.size == 0:
            return True
        # Not madvise of mmap: that works only on mappings that Python made.
        libc = ctypes.CDLL(None, use_errno=True)
        address, size = ctypes.c_void_p(part.ctypes.data), ctypes.c_size_t(part.size)
        failed = libc.madvise(address, size, _MADV_POPULATE_WRITE) != 0
        return not (failed and ctypes.get_errno() in {errno.EFAULT, errno.ENOMEM})

    def close(self) -> None:
        """Give the memory back; collective over the ranks that share it, once they are done.

        No view of `data` or `flags` may be used afterwards, and none may still be registered with
        a GPU.
        """
        release, self._release = self._release, None
        self.data = self.flags = np.empty(0, np.uint8)
        if release is not None:
            release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # After a failure the others do not come: the job is being ended.
        if kind is None:
            self.close()


def no_memory(n_flags: int = 0) -> NodeMemory:
    """Return a piece of no bytes.

    Parameters
    ----------
    n_flags
        Length of its flags.
    """
    return NodeMemory(np.empty(0, np.uint8), np.zeros(n_flags, np.uint8))


def share_on_node(ranks: World, n_bytes: int, n_flags: int) -> NodeMemory:
    """Take memory once per node, for its working ranks; collective over all ranks.

    A working rank that is alone on its node, as in a run of one process, gets ordinary memory. The
    master of several ranks gets none.

    Parameters
    ----------
    ranks
        The job.
    n_bytes
        Of data; the first working rank of each node decides for it. Less is taken, with a warning,
        where /dev/shm is short.
    n_flags
        Bytes that start as zero; the same on all ranks.

    Returns
    -------
    NodeMemory
        Its `data` may be shorter than asked for, also empty.
    """
    if ranks.comm is None or ranks.size == 1:
        return _private(n_bytes, n_flags)
    readers = _readers(ranks)
    if readers is None:
        return no_memory(n_flags)
    if readers.Get_size() == 1:
        readers.Free()
        return _private(n_bytes, n_flags)
    memory = share_among(readers, n_bytes, n_flags)

    def release() -> None:
        if ranks.has_lost:
            return  # a rank that shares it may have died; it goes with the processes
        memory.close()
        readers.Free()

    return NodeMemory(memory.data, memory.flags, release)


def share_among(ranks: MPI.Intracomm, n_bytes: int, n_flags: int) -> NodeMemory:
    """Take memory once for some ranks of a node; collective over them.

    Parameters
    ----------
    ranks
        At least two; must stay until the memory is given back.
    n_bytes, n_flags
        As for `share_on_node`; the first rank decides.

    Returns
    -------
    NodeMemory
        Its `data` may be shorter than asked for, also empty.
    """
    is_first = ranks.Get_rank() == 0
    n_bytes = ranks.bcast(_fitting(n_bytes) if is_first else 0)
    window = _window(ranks, n_bytes, n_flags)
    if window is None:
        return no_memory(n_flags)
    shared: Any = window.Shared_query(0)[0]
    found = np.frombuffer(shared, np.uint8)
    # Open MPI 4 puts its own header first; all ranks must skip the same bytes.
    start = ranks.bcast(_to_page(found))
    data, flags = np.split(found[start : start + n_bytes + n_flags], [n_bytes])
    if is_first:
        flags[:] = 0
    quiet.barrier(ranks)

    def release() -> None:
        quiet.barrier(ranks)
        window.Free()

    return NodeMemory(data, flags, release)


def _readers(ranks: World) -> Any:
    """Return the communicator of this node's working ranks, None on the master."""
    from mpi4py import MPI

    assert ranks.comm is not None
    quiet.barrier(ranks.comm)
    local = comm.split_by_node(ranks.comm)
    mine = local.Split(MPI.UNDEFINED if ranks.rank == 0 else 0, key=ranks.rank)
    local.Free()
    return None if mine == MPI.COMM_NULL else mine


def _window(readers: MPI.Intracomm, n_bytes: int, n_flags: int) -> MPI.Win | None:
    """Allocate at the first rank; None on all ranks if MPI refuses."""
    from mpi4py import MPI

    total = n_bytes + n_flags + mmap.PAGESIZE if readers.Get_rank() == 0 else 0
    window, refusal = None, ""
    try:
        window = MPI.Win.Allocate_shared(total, 1, comm=readers)
    except MPI.Exception as error:
        refusal = str(error)
    if not any(readers.allgather(refusal)):
        return window
    if readers.Get_rank() == 0:
        log.warning(
            "MPI gives this node no shared memory of %.1f GiB (%s); the run goes on without",
            n_bytes / _GIB, refusal,
        )  # fmt: skip
    return None


def _fitting(n_bytes: int) -> int:
    """Cut a size to what /dev/shm has, and say so."""
    room = free_shm_bytes()
    if n_bytes <= room:
        return n_bytes
    log.warning(
        "%s has %.2f GiB free, less than the %.2f GiB of shared memory that would be of use; only "
        "that much is shared (in a container give it more, for example with --shm-size)",
        SHM_FOLDER, room / _GIB, n_bytes / _GIB,
    )  # fmt: skip
    return room


def free_shm_bytes() -> int:
    """Return what /dev/shm can still take, less a reserve; 0 where there is none."""
    try:
        found = os.statvfs(SHM_FOLDER)
    except OSError:
        return 0
    return max(found.f_bavail * found.f_frsize - _RESERVE_BYTES, 0)


def _private(n_bytes: int, n_flags: int) -> NodeMemory:
    # Not numpy.empty: that asks for huge pages, and where free memory is in pieces, putting these
    # together takes several times longer than reading the images.
    flags, kind = np.zeros(n_flags, np.uint8), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    try:
        data = np.frombuffer(mmap.mmap(-1, max(n_bytes, 1), flags=kind), np.uint8)
    except OSError as error:  # a host that promises no more memory than it has
        log.warning("%.1f GiB of memory are refused (%s)", n_bytes / _GIB, error.strerror)
        return NodeMemory(np.empty(0, np.uint8), flags)
    return NodeMemory(data[:n_bytes], flags)


def _to_page(raw: NDArray[np.uint8]) -> int:
    """Count the bytes before the first page that starts in `raw`."""
    return int(-raw.ctypes.data % mmap.PAGESIZE)
