"""Bring what every rank says to rank 0, or to all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relion_mpi.parallel import quiet

if TYPE_CHECKING:
    from relion_mpi.parallel.comm import World


def gather(ranks: World, item: Any) -> list[Any]:
    """Return `item` of every rank on rank 0; collective over all ranks.

    Parameters
    ----------
    ranks
        The job.
    item
        Any picklable object.

    Returns
    -------
    list
        In order of rank; empty on the other ranks.
    """
    if ranks.comm is None or ranks.size == 1:
        return [item]
    quiet.barrier(ranks.comm)
    return ranks.comm.gather(item, root=0) or []


def tell(ranks: World, item: Any) -> Any:
    """Return rank 0's `item` on every rank; collective over all ranks.

    Parameters
    ----------
    ranks
        The job.
    item
        Any picklable object; looked at on rank 0 only.

    Returns
    -------
    Any
        Rank 0's.
    """
    if ranks.comm is None or ranks.size == 1:
        return item
    quiet.barrier(ranks.comm)
    return ranks.comm.bcast(item, root=0)


def everybody(ranks: World, item: Any) -> list[Any]:
    """Return `item` of every rank on every rank; collective over all ranks.

    Parameters
    ----------
    ranks
        The job.
    item
        Any picklable object.

    Returns
    -------
    list
        In order of rank.
    """
    if ranks.comm is None or ranks.size == 1:
        return [item]
    quiet.barrier(ranks.comm)
    return list(ranks.comm.allgather(item))
