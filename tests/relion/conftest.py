from __future__ import annotations

import subprocess

import pytest

from relion_mpi.backend import select_backend


@pytest.fixture(scope="session", params=["float32", "float64"])
def backend(request):
    return select_backend("cpu", request.param)


@pytest.fixture
def relion(tmp_path):
    """Run one of RELION's programs in tmp_path; its standard output is returned."""

    def run(*command):
        words = [str(word) for word in command]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run
