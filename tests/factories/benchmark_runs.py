"""Start programs under benchmarks/, which is no package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
_BESIDE_PYTHON = Path(sys.executable).with_name("mpiexec")
MPIEXEC = str(_BESIDE_PYTHON) if _BESIDE_PYTHON.exists() else shutil.which("mpiexec")

needs_mpiexec = pytest.mark.skipif(
    MPIEXEC is None, reason="there is no mpiexec (pip install mpich)"
)


def run(name, words, launcher=()):
    """Run `benchmarks/NAME` to its end, perhaps under a launcher; return what it says."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PMI_", "OMPI_"))}
    done = subprocess.run(
        [*launcher, sys.executable, ROOT / "benchmarks" / name, *words], check=False, timeout=100,
        text=True, cwd=ROOT, env=environment | {"PYTHONPATH": str(ROOT)}, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
