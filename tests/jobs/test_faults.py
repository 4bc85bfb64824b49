"""Whatever goes wrong on one rank ends the job within seconds, and says why."""

from __future__ import annotations

import time

import pytest
from launcher import finish, mpiexec, needs_mpiexec

pytestmark = needs_mpiexec

# What a failing job may take: the limit of 5 s, and starting Python on shared cores.
ENDS_WITHIN = 5.0
STARTING = 20.0

PROGRAM = """
import sys, time
from crew_worker import SummingWorker
import numpy as np
from relion_mpi.core.errors import InputError
from relion_mpi.parallel import abort, comm
from relion_mpi.parallel.mpi_crew import MPICrew
from relion_mpi.parallel.worker_loop import serve

job = comm.world()
abort.install(job)
if job.rank != 0:
    serve(job.comm, SummingWorker(job.rank))
    sys.exit(0)
crew = MPICrew(job.comm)
crew.begin({"scale": 1}, {"weights": np.ones(3)})
crew.run(list(range(6)), lambda index, result: None)
sys.stderr.write(f"fault at {time.time()}\\n")
sys.stderr.flush()
"""


def seconds_since_fault(output):
    line = next(line for line in output.splitlines() if line.startswith("fault at "))
    return time.time() - float(line.split()[-1])


def run_program(n_ranks, rest):
    status, output, _ = finish(mpiexec(n_ranks, "-c", PROGRAM + rest), STARTING + ENDS_WITHIN)
    assert seconds_since_fault(output) < ENDS_WITHIN, output
    return status, output


@pytest.mark.parametrize("n_ranks", [2, 4])
@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ("fail in work", "particle 12 has no weight"),
        ("fail in prepare", "the stack has no image 7"),
    ],
)
def test_a_failing_worker_ends_all_ranks_with_its_reason(n_ranks, task, reason):
    tasks = [1, 2, 3, task, *(["sleep"] * n_ranks)]
    status, output = run_program(n_ranks, f"crew.run({tasks}, lambda index, result: None)")
    assert status != 0
    assert f"RuntimeError: {reason}" in output
    assert "failed on rank" in output


def test_a_failing_preparation_does_not_wait_for_the_work_under_way():
    tasks = ["sleep", "fail in prepare"]
    status, output = run_program(2, f"crew.run({tasks}, lambda index, result: None)")
    assert status != 0
    assert "the stack has no image 7" in output


def test_failing_work_does_not_wait_for_the_preparation_under_way():
    tasks = ["fail in work", "slow to prepare"]
    status, output = run_program(2, f"crew.run({tasks}, lambda index, result: None)")
    assert status != 0
    assert "particle 12 has no weight" in output


def test_a_failing_master_ends_all_ranks_with_its_reason():
    rest = """
def bad(index, result):
    raise ValueError("no map")
crew.run([1, "sleep", "sleep"], bad)
"""
    status, output = run_program(3, rest)
    assert status != 0
    assert "failed on rank 0 of 3" in output
    assert "ValueError: no map" in output


def test_a_master_that_fails_while_workers_wait_ends_all_ranks():
    status, output = run_program(3, "raise KeyError('x')")
    assert status != 0
    assert "KeyError" in output


def test_an_input_error_of_a_worker_is_told_without_a_traceback():
    status, output = run_program(3, "crew.run(['input error in work', 'sleep'], print)")
    assert status != 0
    assert "relion-mpi: error: particles.star: row 3: found nan, expected a defocus" in output
    assert "Traceback" not in output


def test_a_failing_thread_ends_all_ranks():
    rest = """
import threading
def bad():
    raise OSError("disk full")
threading.Thread(target=bad).start()
crew.run(["sleep", "sleep"], print)
"""
    status, output = run_program(3, rest)
    assert status != 0
    assert "OSError: disk full" in output


def test_sums_of_another_size_are_refused_instead_of_added():
    status, output = run_program(3, "crew.reduce([(4,), ()])")
    assert status != 0
    assert "sums have sizes [3, 1], the master expects [4, 1]" in output


@pytest.mark.parametrize("rank", ["master", "worker"])
def test_a_killed_rank_ends_all_ranks(rank):
    task = "crew.run(['kill', 'sleep', 'sleep'], print)"
    master = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    status, _ = run_program(3, task if rank == "worker" else master)
    assert status != 0


def test_a_job_that_closes_its_crew_exits_with_0():
    status, output = run_program(3, "crew.close()")
    assert status == 0, output


def test_an_unknown_option_is_told_once_with_status_1():
    job = mpiexec(3, "-m", "relion_mpi.cli.main", "no-such-command")
    status, output, _ = finish(job, STARTING)
    assert status == 1
    assert output.count("'no-such-command' is no command") == 1
    assert "Traceback" not in output
