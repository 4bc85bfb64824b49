"""Give this rank its GPU: read the list, choose, bind, count who shares it."""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relion_mpi.backend.gpu import device
from relion_mpi.core.errors import InputError
from relion_mpi.parallel import abort, comm, devices, roll_call

if TYPE_CHECKING:
    from relion_mpi.backend.gpu.device import DeviceInfo
    from relion_mpi.parallel.comm import Node, World

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Binding:
    """The GPU of this rank, and how many ranks share its memory, this one included.

    A master of others is not counted: it uses the memory while they wait, and they while it waits.
    """

    info: DeviceInfo
    n_sharing: int


@dataclass(frozen=True, slots=True)
class Room:
    """What each rank that works on one GPU may hold of it, its context included.

    Attributes
    ----------
    host, uuid, name : of the GPU
    n_sharing : ranks at work on it
    n_bytes : of each of them; the least that one of them was told
    total_bytes : memory of the GPU
    """

    host: str
    uuid: str
    name: str
    n_sharing: int
    n_bytes: int
    total_bytes: int = 0


def bind_rank(text: str, ranks: World, *, master_too: bool = True) -> Binding | None:
    """Bind this rank to its GPU and log who uses which; collective over all ranks.

    Where several ranks share a GPU, each rank's memory pool is kept to its part.

    Parameters
    ----------
    text
        Value of `--gpu`.
    ranks
        The job.
    master_too
        Whether rank 0 works on the first worker's GPU as well. A master on a node without a GPU
        does without.

    Returns
    -------
    Binding or None
        None on a rank that uses no GPU.

    Raises
    ------
    AgreedStop
        The list is wrong, or a worker has no GPU; one rank has said so.
    """
    node = comm.node(ranks)
    is_master = ranks.rank == 0 and ranks.size > 1
    info = abort.agreed(
        ranks.comm, lambda: _bind(text, node, is_master=is_master, master_too=master_too)
    )
    uuid = info.uuid if info else ""
    devices.tell_bindings(ranks, info.name if info else "", uuid)
    n_sharing = devices.n_sharing(ranks, "" if is_master else uuid)
    if info is None:
        return None
    if n_sharing > 1:
        device.limit_memory(n_sharing)
    return Binding(info, n_sharing)


def rooms(ranks: World, bound: Binding | None, leave_bytes: int = 0) -> list[Room]:
    """Ask each GPU for its free memory; collective over all ranks, each bound to its GPU.

    Parameters
    ----------
    ranks
        The job.
    bound
        What `bind_rank` returned here.
    leave_bytes
        What is left to others on each GPU.

    Returns
    -------
    list of Room
        One for each GPU that workers use, on rank 0; empty on the other ranks.
    """
    # Nobody takes memory before everybody has asked.
    mine = None
    if bound is not None and (ranks.rank > 0 or ranks.size == 1):
        free = device.room(bound.n_sharing, leave_bytes)
        info = bound.info
        mine = Room(
            socket.gethostname(), info.uuid, info.name, bound.n_sharing, free, info.total_bytes
        )
    found: dict[tuple[str, str], Room] = {}
    for one in roll_call.gather(ranks, mine):
        if one is not None:
            place = one.host, one.uuid
            if place not in found or one.n_bytes < found[place].n_bytes:
                found[place] = one
    return list(found.values())


def _bind(text: str, node: Node, *, is_master: bool, master_too: bool) -> DeviceInfo | None:
    spec = devices.parse_gpu(text)
    reason = device.why_no_device()
    if reason and not is_master:
        raise InputError(f"--gpu: no GPU can be used: {reason}; `relion-mpi doctor` tells more")
    if reason or (is_master and not master_too):
        return None
    n_devices = device.n_devices()
    chosen = devices.assign(devices.local_worker(node), node.n_workers, n_devices, spec)
    log.info("%s", devices.understood(spec, node.n_workers, n_devices))
    return device.bind(chosen)
