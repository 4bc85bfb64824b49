"""Start a program as one rank, on cores and memory near its GPU.

`python -m relion_mpi.parallel.bind [--gpu LIST] -- PROGRAM ...` is what the launcher starts as each
rank (`relion_mpi.cluster`). The workers of a node share the cores that all of them may use; rank 0,
which works while they sleep, keeps all.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relion_mpi.core.errors import InputError
from relion_mpi.parallel.devices import assign, parse_gpu
from relion_mpi.parallel.local_ranks import Place, place_of
from relion_mpi.parallel.topology import Cores, NearGpu, list_text, look_at_cores, look_at_gpus

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


@dataclass(frozen=True, slots=True)
class Share:
    """What one worker gets.

    Attributes
    ----------
    gpu : number among those that are seen; None for none
    threads : hardware threads
    memory_node : preferred; None for any
    """

    gpu: int | None
    threads: tuple[int, ...]
    memory_node: int | None

    def __str__(self) -> str:
        """Write it for the log."""
        parts = [f"cores {list_text(self.threads)}"]
        if self.memory_node is not None:
            parts.append(f"memory of node {self.memory_node}")
        return ", ".join(parts if self.gpu is None else [f"GPU {self.gpu}", *parts])


def share_out(
    n_workers: int, cores: Cores, gpus: Sequence[NearGpu], chosen: Sequence[int | None]
) -> list[Share]:
    """Give every worker of a node whole cores, near its GPU where that is known.

    Parameters
    ----------
    n_workers
        On the node.
    cores
        That all of them may use.
    gpus
        That all of them see.
    chosen
        Number of each worker's GPU; None for none.

    Returns
    -------
    list of Share
        By worker. Workers near the same cores get equal parts of these, beside each other; where
        they outnumber the cores, each may use all of them.
    """
    everywhere = frozenset(range(len(cores.physical)))
    near: list[frozenset[int]] = []
    for gpu in chosen:
        place = gpus[gpu].cores if gpu is not None and gpu < len(gpus) else frozenset()
        found = {i for i, core in enumerate(cores.physical) if place.intersection(core)}
        near.append(frozenset(found) or everywhere)
    shares = []
    for worker in range(n_workers):
        alike = [other for other in range(n_workers) if near[other] == near[worker]]
        mine = _part(sorted(near[worker]), alike.index(worker), len(alike))
        threads = tuple(thread for core in mine for thread in cores.physical[core])
        shares.append(Share(chosen[worker], threads, _memory_node(threads, cores)))
    return shares


def _part(cores: Sequence[int], number: int, n: int) -> Sequence[int]:
    if n > len(cores):
        return cores
    return cores[number * len(cores) // n : (number + 1) * len(cores) // n]


def _memory_node(threads: Collection[int], cores: Cores) -> int | None:
    nodes = {cores.memory_nodes.get(thread) for thread in threads}
    return nodes.pop() if len(nodes) == 1 else None


def shares_here(n_workers: int, gpu_list: str | None) -> list[Share]:
    """Share this node out.

    Parameters
    ----------
    n_workers
        Workers on it.
    gpu_list
        Value of --gpu; None for CPUs.

    Returns
    -------
    list of Share
        By worker.

    Raises
    ------
    InputError
        The list is wrong, or names GPUs that are not there.
    """
    gpus, chosen = [], [None] * n_workers
    if gpu_list is not None:
        gpus, spec = look_at_gpus(os.environ.get("CUDA_VISIBLE_DEVICES")), parse_gpu(gpu_list)
        if gpus:
            chosen = [assign(worker, n_workers, len(gpus), spec) for worker in range(n_workers)]  # type: ignore[misc]
    return share_out(n_workers, look_at_cores(), gpus, chosen)


def started(words: Sequence[str], place: Place | None, gpu_list: str | None) -> list[str]:
    """Bind this process, say so, and return what it is to become.

    Parameters
    ----------
    words
        Program and arguments.
    place
        Of this rank; None: nothing is bound.
    gpu_list
        See `shares_here`.

    Returns
    -------
    list of str
        The words, behind `numactl` where there are several memory nodes and it is installed;
        without it Linux takes memory near the core that first writes to it.
    """
    if place is None or place.is_master:
        return list(words)
    try:
        share = shares_here(place.n_workers, gpu_list)[place.worker]
    except InputError:
        return list(words)  # the program itself says what is wrong
    os.sched_setaffinity(0, share.threads)
    sys.stdout.write(f"rank {place.rank} on {socket.gethostname()}: {share}\n")
    sys.stdout.flush()
    if share.memory_node is None or shutil.which("numactl") is None:
        return list(words)
    return ["numactl", f"--preferred={share.memory_node}", "--", *words]


def main(arguments: Sequence[str]) -> None:
    """Become the program.

    Parameters
    ----------
    arguments
        Words after the module's name.
    """
    place = arguments.index("--")
    own, words = arguments[:place], list(arguments[place + 1 :])
    gpu_list = own[1] if own[:1] == ["--gpu"] else None
    words = started(words, place_of(os.environ), gpu_list)
    os.execvp(words[0], words)


if __name__ == "__main__":
    main(sys.argv[1:])
