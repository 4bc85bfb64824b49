"""doctor looks at every rank of a job."""

from __future__ import annotations

import os

import pytest
from launcher import finish, mpiexec, needs_mpiexec

pytestmark = needs_mpiexec


def test_doctor_counts_the_ranks_and_tells_once():
    status, told, _ = finish(mpiexec(3, "-m", "relion_mpi.cli.main", "doctor"), 60)
    assert status == 0, told
    assert "3 ranks (1 master, 2 worker(s)) on 1 host(s)" in told
    assert told.count("\nMPI ") == 1
    assert "written by rank 0, read by all" in told


@pytest.mark.skipif(os.path.exists("/dev/nvidia0"), reason="there is a GPU here")
def test_a_problem_is_the_status_of_the_job():
    job = mpiexec(2, "-m", "relion_mpi.cli.main", "doctor", "--gpu", "0")
    status, told, _ = finish(job, 60)
    assert status != 0
    assert "1 problem(s)" in told
