"""Say what a refinement will hold of each node's memory, refuse what cannot fit, say the use."""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from relion_mpi.core.errors import InputError
from relion_mpi.core.memory import available_bytes, capacity_bytes, used_bytes
from relion_mpi.parallel import roll_call
from relion_mpi.parallel.comm import gather_on_node
from relion_mpi.refine.gpu_fit import LARGEST_BOX, SMALLEST_BOX, with_box
from relion_mpi.refine.host_memory import GIB, HostJob, HostNeed, host_need, peak

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relion_mpi.parallel.comm import World

log = logging.getLogger(__name__)

MARGIN = 1.15
"""A need beyond what there is by less than this is warned of, not refused: so exact is it."""


@dataclass(frozen=True, slots=True)
class NodeRoom:
    """A node before the run.

    Attributes
    ----------
    host : name
    n_workers, with_master : ranks of the job on it
    together : the run is one process
    free_bytes : for the job, what its ranks hold already included; None where Linux does not say
    capacity_bytes : of the node or of the control group; None likewise
    """

    host: str
    n_workers: int
    with_master: bool
    together: bool = False
    free_bytes: float | None = None
    capacity_bytes: float | None = None

    def need(self, need: HostNeed, n_workers: int | None = None) -> int:
        """Return what the job needs here, with another number of workers if one is given."""
        n = self.n_workers if n_workers is None else n_workers
        return need.node_bytes(n, with_master=self.with_master, together=self.together)


def nodes(ranks: World) -> list[NodeRoom]:
    """Ask each node for its memory; collective over all ranks.

    Parameters
    ----------
    ranks
        The job.

    Returns
    -------
    list of NodeRoom
        On rank 0, its own node first; empty on the other ranks.
    """
    on_node = gather_on_node(ranks, used_bytes("VmRSS"))
    mine = None
    if on_node[0][0] == ranks.rank:
        free, together = available_bytes(), ranks.size == 1
        if free is not None:
            free += sum(held for _, held in on_node)
        n_workers = 1 if together else sum(rank != 0 for rank, _ in on_node)
        mine = NodeRoom(
            socket.gethostname(), n_workers, ranks.rank == 0, together, free, capacity_bytes()
        )
    return [one for one in roll_call.gather(ranks, mine) if one is not None]


def check_host(host: HostJob, rooms: Sequence[NodeRoom]) -> HostNeed:
    """Predict, say it, warn where it is more than is free, and refuse what can never fit.

    Parameters
    ----------
    host
        What is refined.
    rooms
        Of `nodes`.

    Returns
    -------
    HostNeed
        The prediction.

    Raises
    ------
    InputError
        A node has not the memory, by more than the prediction may be wrong.
    """
    need = host_need(host)
    for room in rooms:
        if room.capacity_bytes is not None and room.need(need) > MARGIN * room.capacity_bytes:
            raise InputError(refusal(host, room))
    say_need(need, rooms)
    return need


def say_need(need: HostNeed, rooms: Sequence[NodeRoom]) -> None:
    """Log the prediction by rank and by node.

    Parameters
    ----------
    need
        The prediction.
    rooms
        Of the nodes.
    """
    if rooms and rooms[0].together:
        log.info("Host memory at most, predicted: %s", _told("this process", need.alone))
    else:
        told = _told("a worker", need.worker), _told("rank 0", need.master)
        log.info("Host memory at most, predicted: %s; %s", *told)
    for room in rooms:
        total = room.need(need)
        log.info(
            "%s: %d worker(s)%s will need %.2f GiB together%s; images that are kept come on top",
            room.host, room.n_workers, " and rank 0" if room.with_master else "", total / GIB,
            "" if room.free_bytes is None else f" of {room.free_bytes / GIB:.2f} GiB free",
        )  # fmt: skip
        if room.free_bytes is not None and total > room.free_bytes:
            log.warning(
                "%s: that is more than is free: use fewer ranks a node, --pad 1, or a smaller box",
                room.host,
            )


def say_host_used(host: HostJob, used: Sequence[int]) -> None:
    """Log the prediction beside what was used.

    Parameters
    ----------
    host
        What was refined, with the samplings that were reached.
    used
        Peak of each rank without kept images, rank 0 first; 0 where it is not known.
    """
    if not used or not used[0]:
        return
    need = host_need(host)
    if len(used) == 1:
        log.info(
            "Host memory: this process used %.2f GiB at most, %.2f predicted",
            used[0] / GIB, need.alone_bytes / GIB,
        )  # fmt: skip
        return
    log.info(
        "Host memory: a worker used %.2f GiB at most, %.2f predicted; rank 0 %.2f, %.2f predicted",
        max(used[1:]) / GIB, need.worker_bytes / GIB, used[0] / GIB, need.master_bytes / GIB,
    )  # fmt: skip


def refusal(host: HostJob, room: NodeRoom) -> str:
    """Say what is needed, what there is, and each change that alone would make it fit.

    Parameters
    ----------
    host
        What is refined.
    room
        A node that has not the memory.
    """
    job, need = host.job, host_need(host)
    there = room.capacity_bytes or 0.0
    return (
        f"{room.host}: box {job.box_size} with --pad {job.padding} and {room.n_workers} worker(s)"
        f"{' and rank 0' if room.with_master else ''} on this node needs "
        f"{room.need(need) / GIB:.1f} GiB of memory, but it has {there / GIB:.1f} GiB; "
        f"what would make it fit: {'; '.join(advice(host, room))}"
    )


def advice(host: HostJob, room: NodeRoom) -> list[str]:
    """List the changes that make a job fit a node, each checked by the same prediction.

    Parameters
    ----------
    host, room
        See `refusal`.
    """
    there, job, found = room.capacity_bytes or 0.0, host.job, []
    need = host_need(host)
    for n in range(room.n_workers - 1, 0, -1):
        if room.need(need, n) <= there:
            found.append(f"{n} worker(s) on the node ({room.need(need, n) / GIB:.1f} GiB)")
            break

    def try_with(words: str, **changes: object) -> None:
        less = room.need(host_need(replace(host, job=replace(job, **changes))))  # type: ignore[arg-type]
        if less <= there:
            found.append(f"{words} ({less / GIB:.1f} GiB)")

    if job.padding > 1:
        try_with("--pad 1", padding=1)
    if job.precision == "float64":
        try_with("--precision float32", precision="float32")
    box = largest_box(host, room)
    if SMALLEST_BOX <= box < job.box_size:
        found.append(f"images binned to {box} pixels")
    return [*found, f"a node with {room.need(need) / GIB:.0f} GiB"]


def largest_box(host: HostJob, room: NodeRoom) -> int:
    """Find the largest even box that fits a node; 0 if none does.

    Parameters
    ----------
    host, room
        See `refusal`.
    """
    there = room.capacity_bytes or 0.0
    low, high = SMALLEST_BOX // 2 - 1, LARGEST_BOX // 2
    while low < high:
        middle = (low + high + 1) // 2
        smaller = replace(host, job=with_box(host.job, 2 * middle))
        if room.need(host_need(smaller)) <= there:
            low = middle
        else:
            high = middle - 1
    return 2 * low if 2 * low >= SMALLEST_BOX else 0


def _told(who: str, moments: dict[str, dict[str, int]]) -> str:
    """Write the highest moment of a process and its largest parts."""
    name, total = peak(moments)
    parts = sorted(moments[name].items(), key=lambda part: -part[1])[:4]
    listed = ", ".join(f"{part} {n_bytes / GIB:.2f}" for part, n_bytes in parts)
    return f"{who} {total / GIB:.2f} GiB ({name}: {listed})"
