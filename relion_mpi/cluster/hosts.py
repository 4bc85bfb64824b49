"""On which hosts how many ranks run."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from relion_mpi.core.errors import InputError
from relion_mpi.parallel.local_ranks import tasks_per_node
from relion_mpi.parallel.topology import look_at_gpus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CORES_A_WORKER = 4
"""Of a worker on CPUs, where nothing else is said: more need less memory."""
_HOST = re.compile(r"(?P<name>[^\s:]+)(?:[:\s]+(?:slots\s*=\s*)?(?P<n>\d+))?\s*(?:max_slots=\d+)?")


@dataclass(frozen=True, slots=True)
class Host:
    """A host and what runs there.

    Attributes
    ----------
    name : as the launcher is to call it; empty for this host
    n_ranks : rank 0 included on the first one; 0 until it is known
    """

    name: str
    n_ranks: int = 0


def read_hosts(text: str) -> list[Host]:
    """Read a list of hosts, or a file of them.

    Parameters
    ----------
    text
        Hosts separated by commas, each perhaps with its number of ranks as in "node1:5,node2:4"; or
        the name of a file with one a line, in the form of MPICH (node1:5) or of Open MPI (node1
        slots=5).

    Returns
    -------
    list of Host
        In order; a host that is named several times once, its ranks added.

    Raises
    ------
    InputError
        A line is of another form, or there is none.
    """
    path = Path(text)
    is_file = path.is_file()
    lines = path.read_text(encoding="utf-8").splitlines() if is_file else text.split(",")
    found: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].strip()
        if not words:
            continue
        match = _HOST.fullmatch(words)
        if match is None:
            where = f"{path}, line {number}" if is_file else f"--hosts {text}"
            raise InputError(f"{where}: found '{words}', expected a host such as node1 or node1:5")
        found[match["name"]] = found.get(match["name"], 0) + int(match["n"] or 0)
    if not found:
        raise InputError(f"--hosts {text}: found no host, expected at least one")
    return [Host(name, n) for name, n in found.items()]


def scheduled_hosts(environment: Mapping[str, str]) -> list[Host]:
    """Ask the scheduler for the hosts of this job.

    Parameters
    ----------
    environment
        Variables of this process.

    Returns
    -------
    list of Host
        With their tasks, where several a node were asked for; this host alone without a scheduler.
    """
    nodes = environment.get("SLURM_JOB_NODELIST", "")
    if nodes:
        names = _expanded(nodes)
        tasks = tasks_per_node(environment.get("SLURM_TASKS_PER_NODE", ""))
        several = len(tasks) == len(names) and max(tasks, default=1) > 1
        return [Host(name, tasks[i] if several else 0) for i, name in enumerate(names)]
    pbs = Path(environment.get("PBS_NODEFILE", ""))
    if pbs.is_file():
        return [Host(host.name) for host in read_hosts(str(pbs))]
    return [Host("")]


def with_ranks(hosts: Sequence[Host], n_ranks: int, n_workers: int) -> list[Host]:
    """Decide how many ranks each host gets.

    Parameters
    ----------
    hosts
        Some of which may say it themselves.
    n_ranks
        In all; 0: as follows from the workers.
    n_workers
        On each host; 0: what the host says, which includes rank 0 on the first one.

    Returns
    -------
    list of Host
        Each with at least one rank; hosts for which none is left are dropped.
    """
    if n_ranks:
        each, more = divmod(n_ranks, len(hosts))
        counts = [each + (i < more) for i in range(len(hosts))]
    elif n_workers:
        counts = [n_workers + (i == 0) for i in range(len(hosts))]
    else:
        counts = [host.n_ranks for host in hosts]
    return [Host(host.name, n) for host, n in zip(hosts, counts, strict=True) if n]


def workers_a_host(environment: Mapping[str, str], *, on_gpu: bool) -> int:
    """Choose the number of workers of a host: one a GPU, or one for every few cores.

    Parameters
    ----------
    environment
        Variables of this process.
    on_gpu
        The line has --gpu.

    Returns
    -------
    int
        At least 1; that of this host, as all are taken to be alike.
    """
    if on_gpu:
        said = environment.get("SLURM_GPUS_ON_NODE", "")
        visible = environment.get("CUDA_VISIBLE_DEVICES")
        n = int(said) if said.isdecimal() else len(look_at_gpus(visible))
        return max(n, 1)
    return max(len(os.sched_getaffinity(0)) // CORES_A_WORKER, 1)


def _expanded(nodes: str) -> list[str]:
    """Let Slurm write its list out."""
    try:
        done = subprocess.run(
            ["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise InputError(
            f"SLURM_JOB_NODELIST is {nodes}, but scontrol cannot write it out ({error}); give "
            "--hosts"
        ) from error
    return done.stdout.split()
