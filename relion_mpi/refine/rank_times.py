"""Where the time of an iteration went on every rank, and in words where that matters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Ranks = Mapping[int, Mapping[str, float]]

FIELDS = (
    "read_seconds", "read_wait_seconds", "estep_seconds", "idle_seconds", "begin_seconds",
    "broadcast_wait_seconds", "broadcast_transfer_seconds", "reduce_pack_seconds",
    "reduce_wait_seconds", "reduce_transfer_seconds", "mstep_seconds", "write_seconds",
    "bytes_read", "bytes_read_from_scratch", "bytes_sent", "bytes_received", "batches",
    "particles",
)  # fmt: skip
"""What is told of every rank; 0 where a rank has no such work."""

_SPANS = {"prepare_wait": "read_wait_seconds", "work": "estep_seconds", "idle": "idle_seconds"}

LEAST_SECONDS = 5.0
"""Waiting that is not worth a word."""
SLOW = 1.3
"""Times the median."""
_IDLE, _READING = 0.1, 0.2  # shares of the E-step
_MB = 1e6


def rank_times(
    accounts: Ranks, timings: Ranks, mstep_seconds: float = 0.0
) -> dict[int, dict[str, float]]:
    """Put together what is known of every rank.

    Parameters
    ----------
    accounts
        Of the iteration, from `Crew.accounts`.
    timings
        Of its E-step by rank, from `Crew.timings`.
    mstep_seconds
        Of rank 0.

    Returns
    -------
    dict
        By rank: a number for each of `FIELDS`.
    """
    found = {}
    for rank, account in accounts.items():
        spans = {_SPANS[name]: seconds for name, seconds in timings.get(rank, {}).items()}
        spans["mstep_seconds"] = mstep_seconds if rank == 0 else 0.0
        known = {**account, **spans}
        found[rank] = {name: float(known.get(name, 0.0)) for name in FIELDS}
    return found


def remarks(ranks: Ranks) -> list[str]:
    """Say which rank kept the others waiting, and for what, where it cost seconds.

    Parameters
    ----------
    ranks
        As `rank_times` returns them.

    Returns
    -------
    list of str
        Sentences; none where the ranks were even.
    """
    workers = {rank: one for rank, one in ranks.items() if one["particles"] > 0}
    return [
        sentence
        for sentence in (
            _slow(workers), _idle(workers), _reading(workers), _reduction(ranks)
        )
        if sentence
    ]  # fmt: skip


def _slow(workers: Ranks) -> str:
    """Compare the time for a particle: faster ranks do more batches, not shorter ones."""
    if len(workers) < 2:
        return ""
    pace = {rank: one["estep_seconds"] / one["particles"] for rank, one in workers.items()}
    slowest = max(pace, key=lambda rank: pace[rank])
    ratio = pace[slowest] / max(_median(list(pace.values())), 1e-12)
    if ratio < SLOW or workers[slowest]["estep_seconds"] < LEAST_SECONDS:
        return ""
    return (
        f"rank {slowest} took {ratio:.1f} times the median of the E-step for a particle: are its "
        "cores or its GPU shared, or slower?"
    )


def _idle(workers: Ranks) -> str:
    if len(workers) < 2:
        return ""
    idle = {rank: one["idle_seconds"] for rank, one in workers.items()}
    whole = {rank: _estep_wall(one) for rank, one in workers.items()}
    share = sum(idle.values()) / max(sum(whole.values()), 1e-12)
    if share < _IDLE or max(idle.values()) < LEAST_SECONDS:
        return ""
    last = min(idle, key=lambda rank: idle[rank])
    return (
        f"workers had nothing to do in {100 * share:.0f} % of the E-step, while the last batches "
        f"were done (rank {last} was the last one): a smaller --batch shortens that"
    )


def _reading(workers: Ranks) -> str:
    wait = {rank: one["read_wait_seconds"] for rank, one in workers.items()}
    slowest = max(wait, key=lambda rank: wait[rank], default=None)
    if slowest is None or wait[slowest] < LEAST_SECONDS:
        return ""
    one = workers[slowest]
    share = wait[slowest] / max(_estep_wall(one), 1e-12)
    if share < _READING:
        return ""
    if one["bytes_read"] == 0:
        return (
            f"rank {slowest} waited for batches to be made ready in {100 * share:.0f} % of the "
            "E-step, and read nothing: kernels were compiled (once for an installation), or it has "
            "too few cores"
        )
    speed = one["bytes_read"] / _MB / max(one["read_seconds"], 1e-12)
    return (
        f"rank {slowest} waited for images in {100 * share:.0f} % of the E-step "
        f"({one['bytes_read'] / _MB:.0f} MB came at {speed:.0f} MB/s): --scratch_dir on a fast "
        "disk of each node would help, or more memory"
    )


def _reduction(ranks: Ranks) -> str:
    """Tell waiting for ranks from moving bytes."""
    if len(ranks) < 2:
        return ""
    # Whoever was last waited least; all others waited for it.
    waits = {rank: one["reduce_wait_seconds"] for rank, one in ranks.items()}
    longest, last = max(waits.values()), min(waits, key=lambda rank: waits[rank])
    moving = max(one["reduce_transfer_seconds"] for one in ranks.values())
    if max(longest, moving) < LEAST_SECONDS:
        return ""
    size = max(one["bytes_sent"] for rank, one in ranks.items() if rank)
    return (
        f"bringing the sums together: {longest:.1f} s of waiting for rank {last}, "
        f"{moving:.1f} s of moving {size / _MB:.0f} MB from each rank"
    )


def _estep_wall(one: Mapping[str, float]) -> float:
    return one["estep_seconds"] + one["read_wait_seconds"] + one["idle_seconds"]


def _median(values: Sequence[float]) -> float:
    return float(np.median(values))
