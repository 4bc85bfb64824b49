"""Which GPU each rank of a node uses; devices are numbers here."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING

from relion_mpi.core.errors import InputError
from relion_mpi.parallel import comm, roll_call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relion_mpi.parallel.comm import Node, World

log = logging.getLogger(__name__)

SYNTAX = (
    "write the devices of the first worker of each node, a colon, those of the second and so on, "
    "such as 0:1:2:3 or 0,1:2,3; leave it empty to have the GPUs of each node shared out"
)


def parse_gpu(text: str) -> list[list[int]]:
    """Read RELION's `--gpu`: workers are separated by colons, a worker's devices by commas.

    Parameters
    ----------
    text
        Such as "0:1:2:3", "0,1:2,3" or nothing.

    Returns
    -------
    list of list of int
        Devices by worker of a node, none of them twice in one list; empty for automatic.

    Raises
    ------
    InputError
        A part is not a whole number, or missing.
    """
    words = text.strip().strip("\"'").strip()
    if not words:
        return []
    spec = []
    for number, part in enumerate(words.split(":"), 1):
        devices = [word.strip() for word in part.split(",")]
        # str.isdigit also takes superscripts, which int refuses.
        wrong = next((word for word in devices if not (word.isascii() and word.isdigit())), None)
        if wrong is not None:
            found = repr(wrong) if wrong else "nothing"
            raise InputError(
                f"--gpu '{text}': found {found} as a device of worker {number}, expected a whole "
                f"number; {SYNTAX}"
            )
        # RELION repeats a device to put several threads on it; one rank drives it here.
        spec.append(list(dict.fromkeys(int(word) for word in devices)))
    return spec


def assign(worker: int, n_local_workers: int, n_devices: int, spec: Sequence[Sequence[int]]) -> int:
    """Choose the GPU of one worker of a node.

    Without a list, the GPUs are shared out in blocks of neighbouring workers. A list is used again
    from its start when there are more workers; who then meets an entry for the second time takes
    its second device, so that `0,1,2,3` puts four workers on four GPUs.

    Parameters
    ----------
    worker
        Number of the worker on its node, from 0 (`local_worker`).
    n_local_workers
        Workers on this node.
    n_devices
        GPUs that this process sees.
    spec
        What `parse_gpu` returned.

    Returns
    -------
    int
        Number of the GPU among those this process sees.

    Raises
    ------
    InputError
        No GPU is seen, or fewer than the list names.

    Source
    ------
    RELION, ml_optimiser_mpi.cpp and cudaOptimiserDeviceMap: the same blocks, and lists are used
    again. There the devices of one worker belong to its threads; a worker here drives one.
    """
    if n_devices < 1:
        raise InputError(
            "--gpu: no GPU is seen on this node, expected at least one; `relion-mpi doctor` tells "
            "what is missing"
        )
    if not spec:
        return worker * n_devices // max(n_local_workers, 1)
    highest = max(max(devices) for devices in spec)
    if highest >= n_devices:
        raise InputError(
            f"--gpu {gpu_text(spec)}: found device {highest}, but this rank sees {n_devices} "
            f"GPU(s), numbered from 0; a scheduler or CUDA_VISIBLE_DEVICES may hide the others: "
            "leave --gpu empty to share out what is there"
        )
    devices = spec[worker % len(spec)]
    return devices[worker // len(spec) % len(devices)]


def understood(spec: Sequence[Sequence[int]], n_local_workers: int, n_devices: int) -> str:
    """Say in one sentence which worker of a node uses which GPU.

    Parameters
    ----------
    spec
        What `parse_gpu` returned.
    n_local_workers
        Workers on this node.
    n_devices
        GPUs that a process sees.

    Returns
    -------
    str
        For the log.

    Raises
    ------
    InputError
        As `assign`.
    """
    n_workers = max(n_local_workers, 1)
    chosen = [assign(worker, n_workers, n_devices, spec) for worker in range(n_workers)]
    asked = f"--gpu {gpu_text(spec)}" if spec else "--gpu without a list"
    pairs = ", ".join(f"worker {worker} on GPU {gpu}" for worker, gpu in enumerate(chosen))
    parts = [f"{asked}: {pairs} of {n_devices} on this node"]
    n_used, n_listed = len(set(chosen)), len({gpu for devices in spec for gpu in devices})
    if n_workers > n_used:
        parts.append(f"{n_workers} workers share {n_used} GPU(s)")
    if n_used < n_listed:
        parts.append(f"{n_listed - n_used} GPU(s) of the list are not used, for a rank drives one")
    elif not spec and n_used < n_devices:
        parts.append(f"{n_devices - n_used} GPU(s) are not used, for a rank drives one")
    return "; ".join(parts)


def gpu_text(spec: Sequence[Sequence[int]]) -> str:
    """Write a list of devices as `--gpu` takes it.

    Parameters
    ----------
    spec
        What `parse_gpu` returned.

    Returns
    -------
    str
        Such as "0,1:2,3".
    """
    return ":".join(",".join(map(str, devices)) for devices in spec)


def local_worker(node: Node) -> int:
    """Return the number of this rank among the workers of its node.

    Parameters
    ----------
    node
        What `comm.node` returned.

    Returns
    -------
    int
        From 0. The master has the first worker's number: it shares that worker's GPU, which is
        idle during the M-step.
    """
    # Ranks of a node are in order of world rank: the master, where it is, comes first.
    n_masters = node.n_ranks - node.n_workers
    return max(node.local_rank - n_masters, 0)


def n_sharing(ranks: World, uuid: str) -> int:
    """Count the ranks of this node that use one GPU; collective over all ranks.

    GPUs are told apart by UUID: under a scheduler that gives each rank a GPU of its own, every
    rank calls its GPU 0.

    Parameters
    ----------
    ranks
        The job.
    uuid
        The GPU this rank is bound to; empty for none.

    Returns
    -------
    int
        At least 1, this rank and the master included.
    """
    found = comm.gather_on_node(ranks, uuid)
    return max(sum(other == uuid for _, other in found), 1) if uuid else 1


def tell_bindings(ranks: World, device: str, uuid: str) -> None:
    """Write to rank 0's log which ranks use which GPU; collective over all ranks.

    Parameters
    ----------
    ranks
        The job.
    device
        Name of the GPU this rank is bound to.
    uuid
        Its UUID; empty for none.
    """
    users: dict[tuple[str, str, str], list[int]] = {}
    found = roll_call.gather(ranks, (socket.gethostname(), uuid, device))
    for rank, place in enumerate(found):
        if place[1]:
            users.setdefault(place, []).append(rank)
    for (host, gpu, name), who in users.items():
        log.info("%s: %s (%s) is used by rank(s) %s", host, name, gpu, ", ".join(map(str, who)))
