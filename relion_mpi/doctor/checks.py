"""Judge programs, launch, cores and storage from what the ranks say."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from relion_mpi.doctor.table import Line, State
from relion_mpi.parallel.relay import shared_bytes
from relion_mpi.parallel.shared_memory import SHM_FOLDER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relion_mpi.doctor.facts import Facts

LITTLE_BYTES = 10 * 2**30
"""Free disk below which a run may fill it: maps of box 400 take 256 MB each, six an iteration."""


def by_host(facts: Sequence[Facts]) -> dict[str, list[Facts]]:
    """Return the ranks of each host.

    Parameters
    ----------
    facts
        Of all ranks.

    Returns
    -------
    dict
        Facts by host, in order of the first rank.
    """
    hosts: dict[str, list[Facts]] = {}
    for one in facts:
        hosts.setdefault(one.host, []).append(one)
    return hosts


def rank_list(ranks: Sequence[int]) -> str:
    """Name ranks.

    Parameters
    ----------
    ranks
        Numbers.

    Returns
    -------
    str
        Such as "rank 3" or "ranks 0, 1, 2 and 9 more".
    """
    shown = ", ".join(map(str, ranks[:8])) + (f" and {len(ranks) - 8} more" if ranks[8:] else "")
    return f"rank {shown}" if len(ranks) == 1 else f"ranks {shown}"


def programs(facts: Sequence[Facts]) -> list[Line]:
    """Judge versions: all ranks must run the same.

    Parameters
    ----------
    facts
        Of all ranks.

    Returns
    -------
    list of Line
        One line.
    """
    first = facts[0]
    found = ", ".join(f"{name} {version or 'missing'}" for name, version in first.versions)
    other = [one.rank for one in facts if one.versions != first.versions]
    if other:
        return [
            Line(
                "programs", State.PROBLEM, f"{found} on rank 0, others on {rank_list(other)}",
                "start the same environment on every host: put its activation into the job script",
            )
        ]  # fmt: skip
    return [Line("programs", State.OK, f"{found}; {first.program}")]


def launch(facts: Sequence[Facts]) -> list[Line]:
    """Judge MPI and how the ranks lie on hosts.

    Parameters
    ----------
    facts
        Of all ranks.

    Returns
    -------
    list of Line
        MPI and launch.
    """
    first = facts[0]
    if first.mpi == "none":
        mpi = Line(
            "MPI", State.NOTE, "none: one process only",
            "pip install mpich, or build mpi4py for the cluster's MPI, to use several ranks",
        )  # fmt: skip
    else:
        outlives = first.outlives_workers
        fate = "goes on without workers that die" if outlives else "ends if a rank dies"
        mpi = Line("MPI", State.OK, f"{first.mpi}; a run {fate}")
    if len(facts) == 1:
        alone = f"1 process on {first.host}, master and worker; mpiexec -n N shows a job of N ranks"
        return [mpi, Line("launch", State.OK, alone)]
    hosts = by_host(facts)
    each = ", ".join(f"{host} {len(ranks)}" for host, ranks in hosts.items())
    n_workers = len(facts) - 1
    text = f"{len(facts)} ranks (1 master, {n_workers} worker(s)) on {len(hosts)} host(s): {each}"
    return [mpi, Line("launch", State.OK, text)]


def cores(facts: Sequence[Facts]) -> list[Line]:
    """Judge cores and threads of each host's workers.

    Parameters
    ----------
    facts
        Of all ranks.

    Returns
    -------
    list of Line
        One line a host.
    """
    lines = []
    for host, ranks in by_host(facts).items():
        workers = [one for one in ranks if one.is_worker]
        if not workers:
            lines.append(Line("cores", State.OK, f"{host}: {len(ranks[0].cores)}, no worker"))
            continue
        seen = sorted({len(one.cores) for one in workers})
        given = sorted({one.n_threads for one in workers})
        found = (
            f"{host}: {len(workers)} worker(s), each sees {_range(seen)} core(s) and uses "
            f"{_range(given)} thread(s)"
        )
        # Bound workers see cores of their own, unbound ones all the same.
        n_cores = len({core for one in workers for core in one.cores})
        if sum(one.n_threads for one in workers) > n_cores:
            mend = "start fewer workers or threads: they outnumber the cores"
            lines.append(Line("cores", State.NOTE, found, mend))
        else:
            lines.append(Line("cores", State.OK, found))
    return lines


def shared_memory(facts: Sequence[Facts]) -> list[Line]:
    """Judge the memory that the ranks of a host can share.

    Parameters
    ----------
    facts
        Of all ranks.

    Returns
    -------
    list of Line
        One line a host of several ranks.
    """
    lines = []
    for host, ranks in by_host(facts).items():
        if len(ranks) < 2:
            continue
        free = ranks[0].shm_bytes
        found = f"{host}: {free / 2**30:.2f} GiB free in {SHM_FOLDER}"
        if free < shared_bytes(len(ranks)):
            mend = (
                "give it more (a container: --shm-size 16g): else sums travel in messages, several "
                "times as slowly, and images are read in every iteration"
            )
            lines.append(Line("shared memory", State.NOTE, found, mend))
        else:
            lines.append(Line("shared memory", State.OK, found))
    return lines


def storage(facts: Sequence[Facts]) -> list[Line]:
    """Judge the current folder and numba's cache.

    Parameters
    ----------
    facts
        Of all ranks.

    Returns
    -------
    list of Line
        Folder and cache.
    """
    return [_folder(facts), _cache(facts)]


def relion() -> Line:
    """Look for RELION's programs on the PATH.

    Returns
    -------
    Line
        Never a problem: RELION is not needed.
    """
    found = shutil.which("relion_refine")
    if found:
        return Line("RELION", State.OK, found)
    return Line("RELION", State.OK, "relion_refine is not on the PATH (refine3d does not need it)")


def _folder(facts: Sequence[Facts]) -> Line:
    first = facts[0]
    wrong = [one for one in facts if one.folder_error]
    if wrong and wrong[0].rank == 0:
        return Line(
            "folder", State.PROBLEM, f"{first.folder} {first.folder_error}",
            "start in a folder that may be written and is not full (df -h, quota)",
        )  # fmt: skip
    if wrong:
        who = rank_list([one.rank for one in wrong])
        return Line(
            "folder", State.PROBLEM,
            f"on {who} ({wrong[0].host}) {wrong[0].folder} {wrong[0].folder_error}",
            "start in a folder that all hosts share: every rank reads the particles",
        )  # fmt: skip
    free = shutil.disk_usage(first.folder).free
    shared = " by rank 0, read by all" if len(facts) > 1 else ""
    found = f"{first.folder}: written{shared}, {free / 2**30:.1f} GiB free"
    if free < LITTLE_BYTES:
        return Line("folder", State.NOTE, found, "make room: a run writes six maps an iteration")
    return Line("folder", State.OK, found)


def _cache(facts: Sequence[Facts]) -> Line:
    wrong = [one for one in facts if one.cache_error]
    if not wrong:
        return Line("kernel cache", State.OK, f"{facts[0].cache}: can be written")
    who = rank_list([one.rank for one in wrong])
    one = wrong[0]
    found = f"{one.cache or 'numba has none'}: {one.cache_error} ({who})"
    mend = "export NUMBA_CACHE_DIR=/a/folder/that/can/be/written; each start compiles for a minute"
    # Without any folder numba refuses to import the kernels; an unwritable one only costs time.
    return Line("kernel cache", State.NOTE if one.cache else State.PROBLEM, found, mend)


def _range(numbers: Sequence[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
