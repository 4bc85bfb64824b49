"""What commands of one process have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relion_mpi.parallel import comm

if TYPE_CHECKING:
    from collections.abc import Callable


def on_rank_0(work: Callable[[Any], object]) -> Callable[[Any], int]:
    """Make the `run` of a command whose work is not shared out.

    Parameters
    ----------
    work
        Takes the command's options; raises InputError for what cannot be used.

    Returns
    -------
    Callable
        Works on rank 0, does nothing on others, and returns exit status 0.
    """

    def run(options: Any) -> int:
        if comm.world().rank == 0:
            work(options)
        return 0

    return run
