"""A job that is killed leaves the sign of failure; one that ends by itself leaves its own."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from relion_mpi.refine.guardian import guarded

PROGRAM = """
import os, signal, sys
from pathlib import Path
from relion_mpi.refine.guardian import guarded

folder, how = Path(sys.argv[1]), sys.argv[2]
with guarded(folder, "FAILURE", ("SUCCESS", "ABORTED")):
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / how).touch()
"""


def signs(folder):
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("how", ["SUCCESS", "ABORTED", "FAILURE"])
def test_a_sign_that_is_there_stays_alone(tmp_path, how):
    with guarded(tmp_path, "FAILURE", ("SUCCESS", "ABORTED")):
        (tmp_path / how).touch()
    assert signs(tmp_path) == {how}


def test_a_killed_process_leaves_the_sign_of_failure(tmp_path):
    subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path), "killed"], check=False)
    deadline = time.monotonic() + 10
    while not signs(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert signs(tmp_path) == {"FAILURE"}
