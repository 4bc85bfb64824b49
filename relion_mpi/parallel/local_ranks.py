"""Where a rank is on its node, before there is MPI: from what its launcher says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# Rank, ranks, rank on the node, ranks on the node; Slurm says the last one in another way.
_NAMES = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
     "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),  # MPICH, Intel MPI
    ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", ""),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """A rank among all ranks and among those of its node; ranks of a node are consecutive."""

    rank: int
    n_ranks: int
    local_rank: int
    n_local: int

    @property
    def n_masters(self) -> int:
        """1 on the node of a rank 0 that only hands out work."""
        return int(self.n_ranks > 1 and self.rank == self.local_rank)

    @property
    def n_workers(self) -> int:
        """Workers on this node."""
        return max(self.n_local - self.n_masters, 1)

    @property
    def worker(self) -> int:
        """Number among the workers of the node; a master has that of the first one."""
        return max(self.local_rank - self.n_masters, 0)

    @property
    def is_master(self) -> bool:
        """Whether this rank only hands out work."""
        return self.rank == 0 and self.n_ranks > 1


def place_of(environment: Mapping[str, str]) -> Place | None:
    """Read where this process is.

    Parameters
    ----------
    environment
        Variables of this process.

    Returns
    -------
    Place or None
        None where no launcher that is known has started it.
    """
    for names in _NAMES:
        found = [_number(environment.get(name, "")) for name in names]
        if not names[3]:
            found[1] = _number(environment.get("SLURM_STEP_NUM_TASKS", "")) or found[1]
            found[3] = _slurm_tasks_here(environment)
        rank, n_ranks, local_rank, n_local = found
        if None not in (rank, n_ranks, local_rank, n_local):
            return Place(rank or 0, n_ranks or 1, local_rank or 0, n_local or 1)
    return None


def tasks_per_node(text: str) -> list[int]:
    """Read Slurm's list of tasks by node.

    Parameters
    ----------
    text
        Such as "9(x2),4".

    Returns
    -------
    list of int
        One for each node; empty for what is no such list.
    """
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part.strip())
        if match is None:
            return []
        found += [int(match[1])] * int(match[2] or 1)
    return found


def _slurm_tasks_here(environment: Mapping[str, str]) -> int | None:
    tasks = tasks_per_node(environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
    node = _number(environment.get("SLURM_NODEID", ""))
    return tasks[node] if node is not None and node < len(tasks) else None


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None
