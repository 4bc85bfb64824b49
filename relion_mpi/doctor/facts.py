"""What each rank finds around itself."""

from __future__ import annotations

import logging
import os
import platform
import re
import socket
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import relion_mpi
from relion_mpi.doctor.gpu_facts import GPUFacts, look_at_gpus
from relion_mpi.parallel import comm, cuda_aware, lost_ranks, roll_call, threads
from relion_mpi.parallel.shared_memory import free_shm_bytes

if TYPE_CHECKING:
    from relion_mpi.doctor.options import DoctorOptions
    from relion_mpi.parallel.comm import World

PACKAGES = ("numpy", "numba", "scipy", "mpi4py")


@dataclass(frozen=True, slots=True)
class Facts:
    """One rank's answer; travels to rank 0. Errors are text, empty where there is none."""

    rank: int
    host: str
    is_worker: bool
    versions: tuple[tuple[str, str], ...]
    program: str
    mpi: str
    cuda_aware: bool
    outlives_workers: bool
    cores: tuple[int, ...]
    n_threads: int
    folder: str
    folder_error: str
    cache: str
    cache_error: str
    shm_bytes: int
    gpu: GPUFacts


def look(options: DoctorOptions, ranks: World) -> Facts:
    """Look around this rank; collective over all ranks.

    Parameters
    ----------
    options
        What the run to come is started with.
    ranks
        The job.

    Returns
    -------
    Facts
        This rank's.
    """
    n_threads = _threads(options, ranks)
    folder, folder_error = _try_folder(ranks)
    cache, cache_error = _try_cache()
    return Facts(
        rank=ranks.rank,
        host=socket.gethostname(),
        is_worker=ranks.rank > 0 or ranks.size == 1,
        versions=tuple(_versions()),
        program=str(Path(relion_mpi.__file__).parent),
        mpi=cuda_aware.library_name(ranks),
        cuda_aware=cuda_aware.is_cuda_aware(ranks),
        outlives_workers=ranks.comm is not None and lost_ranks.can_go_on(),
        cores=tuple(sorted(os.sched_getaffinity(0))),
        n_threads=n_threads,
        folder=folder,
        folder_error=folder_error,
        cache=cache,
        cache_error=cache_error,
        shm_bytes=free_shm_bytes(),
        gpu=look_at_gpus(options.gpu or "", comm.node(ranks)),
    )


def _threads(options: DoctorOptions, ranks: World) -> int:
    """Ask for the threads of a rank without the line in the log: the table says the same."""
    logger = logging.getLogger(threads.__name__)
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        return threads.threads_per_rank(options.j or None, ranks)
    finally:
        logger.setLevel(before)


def _versions() -> list[tuple[str, str]]:
    found = [("relion-mpi", relion_mpi.__version__), ("Python", platform.python_version())]
    for name in PACKAGES:
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            found.append((name, ""))
    return found


def _try_folder(ranks: World) -> tuple[str, str]:
    """Let rank 0 write into the current folder and every rank read it there."""
    mine = Path.cwd()
    path, error, word = None, "", f"{socket.gethostname()} {os.getpid()}"
    if ranks.rank == 0:
        try:
            descriptor, name = tempfile.mkstemp(prefix=".relion-mpi-doctor-", dir=mine)
            path = Path(name)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(word)
                file.flush()
                os.fsync(descriptor)
        except OSError as reason:
            error = f"cannot be written ({reason.strerror})"
    shared, word = roll_call.tell(ranks, (path if not error else None, word))
    if shared is not None and ranks.rank != 0:
        try:
            if (mine / shared.name).read_text(encoding="utf-8") != word:
                error = "is not the folder of rank 0"
        except OSError as reason:
            error = f"is not the folder of rank 0 ({reason.strerror})"
    roll_call.gather(ranks, None)  # all have read it
    if ranks.rank == 0 and path is not None:
        path.unlink(missing_ok=True)
    return str(mine), error


def _try_cache() -> tuple[str, str]:
    """Ask numba where it keeps compiled kernels, and write there."""
    try:
        from relion_mpi.backend.cpu.significance import log_margin

        folder = Path(log_margin.stats.cache_path)
    except Exception as reason:  # noqa: BLE001 - numba raises what it likes
        return "", re.sub(r"\s+", " ", str(reason)) or type(reason).__name__
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return str(folder), ""
    except OSError as reason:
        return str(folder), f"cannot be written ({reason.strerror})"
