"""A Slurm for the tests of this folder, or the reason why there is none."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from cluster import Cluster, why_not


@pytest.fixture(scope="session")
def slurm():
    """Two nodes; paths of sockets must be short, so not pytest's folder."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    try:
        with Cluster(folder, 2) as cluster:
            yield cluster
    finally:
        shutil.rmtree(folder, ignore_errors=True)
