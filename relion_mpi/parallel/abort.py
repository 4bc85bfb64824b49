"""One rank's failure ends all ranks, with its reason."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any, TypeVar

from relion_mpi.core.errors import InputError
from relion_mpi.parallel import lost_ranks, quiet
from relion_mpi.parallel.heartbeat import StalledError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from mpi4py import MPI

    from relion_mpi.parallel.comm import World

T = TypeVar("T")

_INTERRUPTED = 130

# mpiexec (MPICH's hydra) may drop what it has not yet forwarded when a rank aborts: without a
# pause the reason was lost in about one of twelve jobs.
_FORWARDING_SECONDS = 0.5

_GRACE_SECONDS = 10.0
"""For a master to end in the ordinary way once a worker stalled: its own files may stall too."""


class AgreedStop(SystemExit):
    """All ranks leave together with exit status 1; MPI is ended in the ordinary way."""


def install(ranks: World) -> None:
    """Make an uncaught exception in any thread of any rank end the job.

    Without this, the ranks that wait for the failed one wait for ever.

    Parameters
    ----------
    ranks
        The job.
    """

    def in_main(
        kind: type[BaseException], error: BaseException, where: TracebackType | None
    ) -> None:
        fail(ranks, error.with_traceback(where))

    def in_thread(arguments: threading.ExceptHookArgs) -> None:
        error = arguments.exc_value
        if error is not None and not isinstance(error, SystemExit):
            fail(ranks, error)

    sys.excepthook = in_main
    threading.excepthook = in_thread


def fail(ranks: World, error: BaseException) -> int:
    """Write the reason to stderr and end every rank; a single process just returns.

    Parameters
    ----------
    ranks
        The job.
    error
        An InputError is written as a message, anything else with its traceback.

    Returns
    -------
    int
        Exit status for a single process.
    """
    report(ranks.rank, ranks.size, error)
    status = _INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1
    end(ranks, status)
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or isinstance(error, StalledError):
        # One thread may wait for the other for ever; leave without asking it.
        os._exit(status)
    return status


def end(ranks: World, status: int) -> None:
    """End all ranks now, unless there is only one.

    Parameters
    ----------
    ranks
        The job.
    status
        Exit status of the job.
    """
    if ranks.size > 1 and ranks.comm is not None:
        time.sleep(_FORWARDING_SECONDS)
        if lost_ranks.can_go_on():
            lost_ranks.end_all()
        ranks.comm.Abort(status)


def end_soon(ranks: World) -> None:
    """End all ranks, a single process too, unless they have ended by themselves soon.

    Parameters
    ----------
    ranks
        The job.
    """

    def leave() -> None:
        end(ranks, 1)
        os._exit(1)

    last_resort = threading.Timer(_GRACE_SECONDS, leave)
    last_resort.daemon = True
    last_resort.start()


def report(rank: int, size: int, error: BaseException) -> None:
    """Write one readable cause to stderr.

    Parameters
    ----------
    rank, size
        The rank is named if there are several.
    error
        The cause.
    """
    if isinstance(error, InputError | lost_ranks.AllLostError):
        text = f"relion-mpi: error: {error}"
    elif isinstance(error, KeyboardInterrupt):
        text = "relion-mpi: interrupted"
    elif lost := _lost_rank(error):
        text = (
            f"relion-mpi: rank {rank} of {size} lost contact with another rank ({lost}), which has "
            "died: the cause is in that rank's words, or the system ended it (memory?)"
        )
    else:
        lines = "".join(traceback.format_exception(error)).rstrip()
        place = f" on rank {rank} of {size}" if size > 1 else ""
        text = f"relion-mpi: failed{place}\n{lines}"
    try:
        # One write, so that the ranks' lines do not mix.
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        # Nobody reads us any more; ending all ranks is what matters.
        return


def _lost_rank(error: BaseException) -> str:
    """Return MPI's last words where an exception says no more than that a partner is gone."""
    mpi: Any = sys.modules.get("mpi4py.MPI")
    if mpi is None or not isinstance(error, mpi.Exception):
        return ""
    if error.Get_error_class() not in {mpi.ERR_OTHER, *lost_ranks.error_classes()}:
        return ""
    return str(error.Get_error_string()).strip().splitlines()[-1].strip()


def agree_or_stop(comm: MPI.Intracomm | None, error: BaseException | None) -> None:
    """Go on if no rank has an error; else all ranks stop with status 1. Collective.

    The lowest rank that has an InputError writes it, once.

    Parameters
    ----------
    comm
        All ranks, or None for one process.
    error
        What this rank found wrong; anything but an InputError is raised here and ends the job.

    Raises
    ------
    AgreedStop
        Some rank has an error.
    """
    if error is not None and not isinstance(error, InputError):
        raise error
    rank, complaints = 0, [error]
    if comm is not None and comm.Get_size() > 1:
        rank = comm.Get_rank()
        quiet.barrier(comm)
        complaints = _everybody(comm, error)
    first = next((one for one, found in enumerate(complaints) if found is not None), None)
    if first is None:
        return
    if first == rank and error is not None:
        report(rank, len(complaints), error)
    raise AgreedStop(1)


def agreed(
    comm: MPI.Intracomm | None, make: Callable[[], T], *, here: bool = True
) -> T | None:
    """Make something where that is wanted; all ranks stop if it cannot be made. Collective.

    Parameters
    ----------
    comm
        All ranks, or None for one process.
    make
        Raises an InputError for what cannot be used.
    here
        Whether this rank makes it.

    Returns
    -------
    T or None
        None where it was not wanted.

    Raises
    ------
    AgreedStop
        Some rank could not make it; one has said why.
    """
    made, mistake = None, None
    if here:
        try:
            made = make()
        except InputError as error:
            mistake = error
    agree_or_stop(comm, mistake)
    return made


def _everybody(comm: MPI.Intracomm, error: BaseException | None) -> list[Any]:
    return comm.allgather(None if error is None else str(error))
