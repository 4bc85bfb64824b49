"""Notice that ranks have died and go on with the others, where MPI can.

Open MPI 5 can (its ULFM, of MPI's chapter on fault tolerance), if it is started with `mpiexec
--with-ft ulfm`. Every other MPI or launcher ends all ranks when one dies.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from relion_mpi.parallel import quiet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mpi4py import MPI

VARIABLE = "OMPI_MCA_mpi_ft_enable"
"""What `mpiexec --with-ft ulfm` sets; under srun the user sets it to 1."""


_LAUNCHERS = ("prterun", "mpiexec", "mpirun")
_GRACE_SECONDS = 10.0


class RankLostError(Exception):
    """Another rank has died, or somebody says so; the communicator is of no use any more."""


class AllLostError(Exception):
    """Rank 0 has died, or it is alone; the message says so."""


@functools.cache
def can_go_on() -> bool:
    """Tell whether this job goes on when a worker dies.

    Returns
    -------
    bool
        True under Open MPI with fault tolerance on.
    """
    if os.environ.get(VARIABLE, "").lower() not in {"1", "true", "yes", "on"}:
        return False
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError):
        return False
    return "Open MPI" in MPI.Get_library_version() and hasattr(MPI.Comm, "Iagree")


@contextlib.contextmanager
def noticed() -> Iterator[None]:
    """Turn what MPI says of a dead rank into a RankLostError.

    Raises
    ------
    RankLostError
        A rank has died, and the job can go on without it.
    """
    from mpi4py import MPI

    try:
        yield
    except MPI.Exception as error:
        if can_go_on() and error.Get_error_class() in error_classes():
            raise RankLostError(str(error)) from error
        raise


def error_classes() -> frozenset[int]:
    """Return the classes of errors by which MPI says that a rank has died."""
    from mpi4py import MPI

    names = ("ERR_PROC_FAILED", "ERR_PROC_FAILED_PENDING", "ERR_REVOKED")
    return frozenset(int(getattr(MPI, name)) for name in names if hasattr(MPI, name))


def without_lost(comm: MPI.Intracomm, patience: float) -> tuple[MPI.Intracomm, list[int]]:
    """Return the ranks that live, in their order; collective over them.

    Everybody who waits on `comm` is told by an error that it is of no use any more.

    Parameters
    ----------
    comm
        Has lost a rank.
    patience
        Seconds to wait for the others, which may be busy.

    Returns
    -------
    comm : Intracomm
        For the caller to free.
    places : list of int
        The rank that each of its ranks has in the old one.

    Raises
    ------
    AllLostError
        Rank 0 is not among them.
    TimeoutError
        Some rank lives and did not come.
    """
    from mpi4py import MPI

    comm.Revoke()
    _wait_for_all(comm, patience)
    found = comm.Shrink()
    assert isinstance(found, MPI.Intracomm)
    found.Set_errhandler(MPI.ERRORS_RETURN)
    new, old = found.Get_group(), comm.Get_group()
    places = list(MPI.Group.Translate_ranks(new, list(range(new.Get_size())), old))
    new.Free()
    old.Free()
    if places[0] != 0:
        raise AllLostError(
            "rank 0 has died, which leads the others: the cause is in its words, or the system "
            "ended it (memory?)"
        )
    return found, places


def end_all() -> NoReturn:
    """End the job where `MPI_Abort` is no help.

    Under fault tolerance that of Open MPI 5.0.11 at times ends only the rank that calls it, and
    once a rank has died mpiexec takes it for success. Asked to end, mpiexec does so with status 1.
    """
    if _name(os.getppid()) in _LAUNCHERS:
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(_GRACE_SECONDS)
    # On another host than mpiexec's. Without rank 0 all end; without a worker they go on.
    os.kill(os.getpid(), signal.SIGKILL)
    raise SystemExit(1)


def _name(process: int) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _wait_for_all(comm: MPI.Intracomm, patience: float) -> None:
    """Wait for all that live without keeping a core busy, as `Shrink` would.

    Of what works on such a communicator, agreeing is the only thing that need not block: `Ishrink`
    of Open MPI 5.0.11 ends in an internal error.
    """
    agreed = comm.Iagree(np.ones(1, np.intc))
    deadline = time.monotonic() + patience

    def is_over() -> bool:
        if time.monotonic() > deadline:
            raise TimeoutError(f"a rank has died, and another did not answer for {patience:.0f} s")
        return agreed.Test()

    # It tells once more that a rank has died.
    with contextlib.suppress(RankLostError), noticed():
        quiet.until(is_over)
