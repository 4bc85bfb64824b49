"""Whatever goes wrong on one rank ends the job within seconds, and says why."""

from __future__ import annotations

import re
import socket
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


def test_a_worker_whose_main_thread_fails_ends_all_ranks():
    status, output = run_program(3, "crew.begin({'no': 'scale'}, {'weights': np.ones(3)})")
    assert status != 0
    assert "KeyError: 'scale'" in output
    assert re.search(r"failed on rank [12] of 3", output)


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


@pytest.fixture
def short_patience(monkeypatch):
    monkeypatch.setenv("RELION_MPI_STALL_SECONDS", "1.5")


@pytest.mark.usefixtures("short_patience")
def test_a_stopped_worker_ends_all_ranks_and_is_named():
    status, output = run_program(4, "crew.run([1, 'stop', 2, 3, 4], lambda index, result: None)")
    assert status != 0
    assert re.search(rf"rank [123] on {socket.gethostname()} has been silent for \d s", output)
    assert "RELION_MPI_STALL_SECONDS" in output


@pytest.mark.usefixtures("short_patience")
def test_a_worker_whose_thread_hangs_shows_its_stacks_and_ends_all_ranks():
    status, output = run_program(3, "crew.run([1, 'sleep', 2], lambda index, result: None)")
    assert status != 0
    assert re.search(r"relion-mpi: rank [12] on \S+: no progress for \d s; its threads:", output)
    assert "in work" in output  # the method that sleeps
    assert re.search(r"rank [12] on \S+ has made no progress for \d s", output)


@pytest.mark.usefixtures("short_patience")
def test_one_process_whose_thread_hangs_shows_its_stacks_and_ends():
    program = """
import numpy as np, sys, time
from crew_worker import SummingWorker
from relion_mpi.parallel import abort, comm
from relion_mpi.parallel.inline import InlineCrew

abort.install(comm.world())
crew = InlineCrew(SummingWorker())
crew.begin({"scale": 1}, {"weights": np.ones(3)})
sys.stderr.write(f"fault at {time.time()}\\n")
crew.run([1, "sleep", 2], lambda index, result: None)
"""
    status, output, _ = finish(mpiexec(1, "-c", program), STARTING + ENDS_WITHIN)
    assert seconds_since_fault(output) < ENDS_WITHIN, output
    assert status != 0
    assert "relion-mpi: rank 0 on" in output
    assert "in work" in output
    assert output.count(f"rank 0 on {socket.gethostname()} has made no progress for") == 1


def test_a_worker_that_stops_while_all_are_told_something_ends_all_ranks(monkeypatch):
    monkeypatch.setenv("RELION_MPI_STALL_SECONDS", "0.4")  # six times as long for this
    rest = """
crew.begin({"scale": 1, "stop": 2}, {"weights": np.ones(3)})
crew.reduce([(3,), ()])
"""
    status, output = run_program(3, rest)
    assert status != 0
    assert "rank 2 on" in output
    assert "(getting ready) has been silent" in output


def test_waiting_and_working_for_longer_than_the_limit_is_no_stall(monkeypatch):
    monkeypatch.setenv("RELION_MPI_STALL_SECONDS", "3")
    rest = """
time.sleep(3.5)
crew.run(["work hard", 1], lambda index, result: None)
crew.reduce([(3,), ()])
crew.close()
"""
    status, output, _ = finish(mpiexec(3, "-c", PROGRAM + rest), STARTING + 15)
    assert status == 0, output
    assert "no progress" not in output


@pytest.mark.parametrize("seconds", ["soon", "-1", "nan"])
def test_a_limit_that_is_no_number_of_seconds_is_refused(monkeypatch, seconds):
    monkeypatch.setenv("RELION_MPI_STALL_SECONDS", seconds)
    status, output, _ = finish(mpiexec(2, "-c", PROGRAM), STARTING)
    assert status == 1
    assert f"RELION_MPI_STALL_SECONDS: found '{seconds}', expected seconds" in output


def test_a_job_that_closes_its_crew_exits_with_0():
    status, output = run_program(3, "crew.close()")
    assert status == 0, output


def test_an_unknown_option_is_told_once_with_status_1():
    job = mpiexec(3, "-m", "relion_mpi.cli.main", "no-such-command")
    status, output, _ = finish(job, STARTING)
    assert status == 1
    assert output.count("'no-such-command' is no command") == 1
    assert "Traceback" not in output
