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
