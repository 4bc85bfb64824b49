"""Which cores and which memory of this node are near which GPU, as Linux tells."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SYS = Path("/sys")
_QUERY = ("nvidia-smi", "--query-gpu=index,uuid,pci.bus_id", "--format=csv,noheader")
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class NearGpu:
    """A GPU that this process may use.

    Attributes
    ----------
    name : UUID
    bus_id : such as 0000:3b:00.0
    cores : near it; empty where Linux does not say
    memory_node : of NUMA; None where Linux does not say
    """

    name: str
    bus_id: str
    cores: frozenset[int]
    memory_node: int | None


@dataclass(frozen=True, slots=True)
class Cores:
    """Cores that this process may use.

    Attributes
    ----------
    physical : hardware threads of each core, cores of a memory node beside each other
    memory_nodes : number of each hardware thread's memory node; empty where there is one only
    """

    physical: tuple[tuple[int, ...], ...]
    memory_nodes: dict[int, int]


def parse_list(text: str) -> list[int]:
    """Read Linux's list of numbers.

    Parameters
    ----------
    text
        Such as "0-3,8".

    Returns
    -------
    list of int
        All of them; empty for what is no such list.
    """
    found: list[int] = []
    for part in filter(None, text.strip().split(",")):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if match is None:
            return []
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    return found


def list_text(numbers: Sequence[int]) -> str:
    """Write numbers as Linux does.

    Parameters
    ----------
    numbers
        In any order.

    Returns
    -------
    str
        Such as "0-3,8".
    """
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in parts)


def look_at_cores(allowed: Sequence[int] | None = None, sys: Path = SYS) -> Cores:
    """Find the cores of this process and their memory nodes.

    Parameters
    ----------
    allowed
        Hardware threads; those of this process if left out.
    sys
        Linux's /sys.

    Returns
    -------
    Cores
        Every allowed hardware thread once.
    """
    mine = sorted(os.sched_getaffinity(0) if allowed is None else allowed)
    nodes = {}
    for path in (sys / "devices/system/node").glob("node[0-9]*"):
        for thread in parse_list(_read(path / "cpulist")):
            nodes[thread] = int(path.name.removeprefix("node"))
    cores: dict[int, list[int]] = {}
    for thread in mine:
        path = sys / f"devices/system/cpu/cpu{thread}/topology/thread_siblings_list"
        cores.setdefault(min(parse_list(_read(path)), default=thread), []).append(thread)
    order = sorted(cores.values(), key=lambda core: (nodes.get(core[0], 0), core))
    several = len({nodes.get(thread) for thread in mine}) > 1
    return Cores(tuple(map(tuple, order)), nodes if several else {})


def look_at_gpus(visible: str | None, sys: Path = SYS) -> list[NearGpu]:
    """Find the GPUs that a program sees, in its order; none where `nvidia-smi` is missing.

    Parameters
    ----------
    visible
        CUDA_VISIBLE_DEVICES; None where it is not set.
    sys
        Linux's /sys.

    Returns
    -------
    list of NearGpu
        Empty also where single parts of GPUs (MIG) are shared out.
    """
    rows = [[word.strip() for word in line.split(",")] for line in _ask_nvidia().splitlines()]
    rows = [row for row in rows if len(row) == 3]
    if visible is not None:
        chosen = []
        for word in filter(None, (part.strip() for part in visible.split(","))):
            same = [row for row in rows if word == row[0] or row[1].startswith(word)]
            if not same:
                return []
            chosen.append(same[0])
        rows = chosen
    return [_near(uuid, _sys_name(bus_id), sys) for _, uuid, bus_id in rows]


def _near(uuid: str, bus_id: str, sys: Path) -> NearGpu:
    path = sys / "bus/pci/devices" / bus_id
    node = _read(path / "numa_node").strip()
    return NearGpu(
        uuid, bus_id, frozenset(parse_list(_read(path / "local_cpulist"))),
        int(node) if node.isdecimal() else None,
    )  # fmt: skip


def _sys_name(bus_id: str) -> str:
    """NVIDIA writes the domain with eight digits, Linux with four."""
    domain, _, rest = bus_id.lower().partition(":")
    return f"{domain[-4:]}:{rest}"


def _ask_nvidia() -> str:
    try:
        done = subprocess.run(
            _QUERY, capture_output=True, text=True, timeout=_PATIENCE_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
