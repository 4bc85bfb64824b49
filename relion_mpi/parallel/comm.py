"""Start and end MPI by hand; tell rank, size and who shares this node."""

from __future__ import annotations

import atexit
import functools
import logging
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from relion_mpi.core.errors import InputError
from relion_mpi.parallel import quiet

if TYPE_CHECKING:
    from mpi4py import MPI

log = logging.getLogger(__name__)

# What launchers tell each process about the size of the job.
_LAUNCHER_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")


@dataclass(slots=True)
class World:
    """All ranks of this job. `comm` is None where MPI is missing and there is one process.

    `has_lost` says that ranks have died and these are the others, with new numbers.
    """

    comm: MPI.Intracomm | None
    rank: int
    size: int
    has_lost: bool = False

    @property
    def n_workers(self) -> int:
        """Ranks that do tasks: all but rank 0, which works only when it is alone."""
        return max(self.size - 1, 1)

    def go_on_with(self, comm: MPI.Intracomm) -> None:
        """Leave out ranks that have died; collective over the others, as all is from then on.

        Parameters
        ----------
        comm
            Of the others, in their order.
        """
        self.comm, self.rank, self.size = comm, comm.Get_rank(), comm.Get_size()
        self.has_lost = True
        atexit.unregister(_finalise)
        atexit.register(_finalise, comm)


@dataclass(frozen=True, slots=True)
class Node:
    """The ranks on this node."""

    local_rank: int
    n_ranks: int
    n_workers: int


@functools.cache
def world() -> World:
    """Initialise MPI on first use and return the job's ranks.

    mpi4py is imported here and not before, so that `relion-mpi --help` needs no MPI.

    Returns
    -------
    World
        One rank without a communicator if mpi4py or its library is missing.

    Raises
    ------
    InputError
        A launcher started several processes, but MPI is missing or belongs to another launcher;
        every process would do the whole job and overwrite the others' files.
    """
    try:
        mpi = _initialised()
    except (ImportError, RuntimeError) as reason:
        _refuse_if_launched(f"MPI cannot be loaded ({reason})")
        log.info("No MPI (%s): running in one process", reason)
        return World(comm=None, rank=0, size=1)
    comm = mpi.COMM_WORLD
    if comm.Get_size() == 1:
        _refuse_if_launched(f"mpi4py uses another MPI library ({_library(mpi)})")
    return World(comm=comm, rank=comm.Get_rank(), size=comm.Get_size())


def library_name() -> str:
    """Return name and version of the MPI library that mpi4py uses, without starting it.

    Returns
    -------
    str
        Such as "MPICH 4.2.1"; empty where MPI cannot be loaded.
    """
    try:
        import mpi4py

        if "mpi4py.MPI" not in sys.modules:
            mpi4py.rc.initialize = False
            mpi4py.rc.finalize = False
        from mpi4py import MPI
    except (ImportError, RuntimeError):
        return ""
    return _library(MPI)


def node(ranks: World) -> Node:
    """Return who shares this node's cores; collective over all ranks.

    Parameters
    ----------
    ranks
        The job.

    Returns
    -------
    Node
        Workers leave rank 0 out unless it is alone.
    """
    if ranks.comm is None or ranks.size == 1:
        return Node(local_rank=0, n_ranks=1, n_workers=1)
    quiet.barrier(ranks.comm)
    local = split_by_node(ranks.comm)
    world_ranks = local.allgather(ranks.rank)
    found = Node(
        local_rank=local.Get_rank(),
        n_ranks=len(world_ranks),
        n_workers=sum(rank != 0 for rank in world_ranks),
    )
    local.Free()
    return found


def gather_on_node(ranks: World, item: Any) -> list[tuple[int, Any]]:
    """Return `item` of every rank of this node; collective over all ranks.

    Parameters
    ----------
    ranks
        The job.
    item
        Any picklable object.

    Returns
    -------
    list
        (rank, item) in order of rank.
    """
    if ranks.comm is None or ranks.size == 1:
        return [(ranks.rank, item)]
    quiet.barrier(ranks.comm)
    local = split_by_node(ranks.comm)
    found = local.allgather((ranks.rank, item))
    local.Free()
    return sorted(found, key=lambda pair: pair[0])


def split_by_node(comm: MPI.Intracomm) -> MPI.Comm:
    """Return a new communicator of the ranks on this node, in order; collective.

    Parameters
    ----------
    comm
        Communicator.

    Returns
    -------
    Comm
        For the caller to free.
    """
    from mpi4py import MPI

    return comm.Split_type(MPI.COMM_TYPE_SHARED, key=comm.Get_rank())


def _initialised() -> Any:
    import mpi4py

    if "mpi4py.MPI" not in sys.modules:
        mpi4py.rc.initialize = False
        mpi4py.rc.finalize = False
    from mpi4py import MPI

    if not MPI.Is_initialized():
        if "MPICH" in _library(MPI) and "OMPI_COMM_WORLD_SIZE" in os.environ:
            # MPICH would abort in MPI_Init with a message about PMI versions.
            _refuse_if_launched(f"mpi4py uses {_library(MPI)}, not Open MPI")
        # Only the main thread talks, but a failing background thread must be able to abort.
        MPI.Init_thread(MPI.THREAD_MULTIPLE)
        atexit.register(_finalise)
    return MPI


def _library(mpi: Any) -> str:
    words = mpi.Get_library_version().split("\n")[0].replace("\0", "").split()
    return " ".join(words).replace("MPICH Version:", "MPICH")


def _finalise(comm: MPI.Intracomm | None = None) -> None:
    from mpi4py import MPI

    if MPI.Is_initialized() and not MPI.Is_finalized():
        # Ranks come here at different times; MPI_Finalize would wait with a busy core.
        quiet.barrier(MPI.COMM_WORLD if comm is None else comm)
        if comm is None:
            MPI.Finalize()
        # Otherwise ranks have died, and MPI_Finalize of Open MPI 5.0.11 now and then waits for them
        # for ever. Leaving without it is no failure under `mpiexec --with-ft ulfm`.


def _refuse_if_launched(reason: str) -> None:
    for name in _LAUNCHER_SIZES:
        text = os.environ.get(name, "1")
        if text.isdigit() and int(text) > 1:
            raise InputError(
                f"{name} says that {text} processes were started, but {reason}. Use the mpiexec "
                "that belongs to mpi4py's MPI, for example the one in the same environment's bin "
                "folder after `pip install mpich`."
            )
