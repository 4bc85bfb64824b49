"""What the hosts' memory has: free, at most, and used by this process."""

from __future__ import annotations

from pathlib import Path

GIB = 2.0**30
CACHE_SHARE = 0.5
"""Of what a run leaves over; the rest stays with the system's file cache and with others."""
CONTROL_GROUPS = Path("/sys/fs/cgroup")
MY_GROUPS = Path("/proc/self/cgroup")
MY_STATUS = Path("/proc/self/status")


def image_cache_bytes(run_bytes: float, share: float = CACHE_SHARE) -> int:
    """Choose how much of this node's memory may keep images.

    Parameters
    ----------
    run_bytes
        What the run itself will need here.
    share
        Of the memory that is left over by the run.

    Returns
    -------
    int
        Bytes for all workers of the node together; 0 where Linux does not say what is free.
    """
    free = available_bytes()
    return 0 if free is None else max(int(share * (free - run_bytes)), 0)


def used_bytes(name: str = "VmHWM") -> int:
    """Return what this process uses or used, 0 where Linux does not say.

    Parameters
    ----------
    name
        A size of /proc/self/status: "VmHWM" for the peak, "VmRSS" for now, "RssShmem" for what is
        shared with others.
    """
    try:
        lines = MY_STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":")), 0)


def capacity_bytes() -> float | None:
    """Memory that programs on this host could get if there were no others, or None."""
    total = _of_host("MemTotal:")
    return None if total is None else min([total, *group_limits()])


def available_bytes() -> float | None:
    """Memory that programs can still get on this host, or None where Linux does not say.

    A container or batch job may get less than its host has: the limits of its control groups count.
    """
    free = _of_host("MemAvailable:")
    return None if free is None else min([free, *group_rooms()])


def _of_host(name: str) -> float | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((float(x.split()[1]) * 1024 for x in lines if x.startswith(name)), None)


def group_rooms(root: Path = CONTROL_GROUPS, mine: Path = MY_GROUPS) -> list[float]:
    """List what each control group around this process still allows; without limits nothing.

    Parameters
    ----------
    root
        Where the groups' files are.
    mine
        Says which groups this process is in.
    """
    return [max(limit - used, 0.0) for limit, used in _groups(root, mine)]


def group_limits(root: Path = CONTROL_GROUPS, mine: Path = MY_GROUPS) -> list[float]:
    """List the limit of each control group around this process.

    Parameters
    ----------
    root, mine
        See `group_rooms`.
    """
    return [limit for limit, _ in _groups(root, mine)]


def _groups(root: Path, mine: Path) -> list[tuple[float, float]]:
    """List limit and use of the groups that have a limit."""
    try:
        lines = mine.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for _, kinds, path in (line.split(":", 2) for line in lines):
        if kinds == "":
            top, names = root, ("memory.max", "memory.current", "")
        elif "memory" in kinds.split(","):
            top = root / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
        else:
            continue
        inner = top / path.lstrip("/")
        groups = [inner, *inner.parents]
        # A container sees its own group as the top one, and its path on the host.
        for group in groups[: groups.index(top) + 1]:
            one = _limit_and_use(group, *names)
            if one is not None:
                found.append(one)
    return found


def _limit_and_use(
    group: Path, limit_name: str, used_name: str, prefix: str
) -> tuple[float, float] | None:
    """Read limit and use of one group, files in the system's cache not counted as use."""
    try:
        limit = float((group / limit_name).read_text(encoding="ascii"))
        used = float((group / used_name).read_text(encoding="ascii"))
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):  # no such group, or "max"
        return None
    files = (prefix + "active_file", prefix + "inactive_file")
    cached = sum(float(value) for name, value in map(str.split, lines) if name in files)
    return limit, used - cached
