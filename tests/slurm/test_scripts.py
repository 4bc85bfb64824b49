"""Every batch script on a real Slurm of two nodes, and a job that is killed and started again."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cluster import ROOT

from relion_mpi.simulate.options import SimulateOptions
from relion_mpi.simulate.particle_set import simulate

pytestmark = pytest.mark.long

RUNS_WITHIN = 240.0
SMALL = ("--nodes=1", "--ntasks-per-node=2", "--cpus-per-task=1", "--time=10")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return simulate(
        SimulateOptions(o=tmp_path_factory.mktemp("set"), n=200, box=28, angpix=8.0, snr=0.2)
    )


def finished(slurm, job, folder):
    def text():
        return "\n".join(one.read_text() for one in folder.rglob("*.out"))

    def has_ended():
        state = slurm.field(job, "JobState")
        assert state not in ("FAILED", "TIMEOUT", "NODE_FAIL"), f"{text()}\n{slurm.logs()}"
        return state == "COMPLETED"

    slurm.wait_for(has_ended, "the job", RUNS_WITHIN, text)
    return text()


def ranks_on(node, job):
    """Numbers of the processes of a job that are ranks on a node."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            names = (path / "environ").read_bytes().decode(errors="replace").split("\0")
            wanted = {f"SLURM_JOB_ID={job}", f"SLURMD_NODENAME={node}"}
            if wanted <= set(names) and any(name.startswith("PMI_RANK=") for name in names):
                found.append(int(path.name))
    return found


def test_a_job_that_loses_the_ranks_of_a_node_is_put_back_and_goes_on(slurm, made, tmp_path):
    job = slurm.submit(
        tmp_path, "--nodes=2", *SMALL[1:], ROOT / "slurm" / "refine3d.sbatch",
        "--i", made.particles, "--ref", made.reference, "--o", "out/run", "--random_seed", "1",
        "--healpix_order", "3", "--offset_range", "2", "--auto_iter_max", "2", "--j", "1",
        "--checkpoint_minutes", "0.01",
    )  # fmt: skip
    partial = tmp_path / "out" / "run_it001_partial.h5"
    slurm.wait_for(partial.exists, "something saved", RUNS_WITHIN)
    assert (tmp_path / "out" / "run.lock").exists()
    lost = ranks_on("n2", job)
    assert len(lost) >= 2
    for number in lost:
        os.kill(number, signal.SIGKILL)
    slurm.wait_for(lambda: slurm.field(job, "Restarts") == "1", "the requeue", 40)
    slurm.start_again(job)
    told = finished(slurm, job, tmp_path)
    assert told.count("4 rank(s): 2 on n1, 2 on n2") == 2
    assert told.count("Putting job") == 1
    # The iteration may have ended before its ranks were lost; the run, of two, has not.
    assert re.search("Going on (within iteration [12], of which|after iteration 1:) ", told)


@pytest.mark.parametrize("command", ["class3d", "class2d"])
def test_the_script_of_a_classification_does_it(slurm, made, tmp_path, command):
    reference = ("--ref", made.reference, "--healpix_order", "0") if command == "class3d" else ()
    job = slurm.submit(
        tmp_path, *SMALL, ROOT / "slurm" / f"{command}.sbatch", "--i", made.particles, *reference,
        "--o", "out/run", "--K", "2", "--iter", "1", "--offset_range", "2", "--j", "1",
    )  # fmt: skip
    told = finished(slurm, job, tmp_path)
    assert "2 rank(s): 2 on n" in told
    assert (tmp_path / "out" / "run_it001_model.star").is_file()


def test_a_submitted_command_runs_with_what_it_was_given(slurm, made, tmp_path):
    words = ["submit", "--workers", "1", "--cores", "1", "--time", "10", "refine3d", "--i",
             made.particles, "--ref", made.reference, "--o", "out/run", "--healpix_order", "0",
             "--offset_range", "2", "--auto_iter_max", "1", "--j", "1"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "relion_mpi.cli.main", *map(str, words)], env=slurm.environment,
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    job = re.search(r"Submitted batch job (\d+)", done.stdout)[1]
    assert slurm.field(job, "NumTasks") == "2"
    assert slurm.field(job, "TimeLimit") == "00:10:00"
    finished(slurm, job, tmp_path)
    assert "iteration 1" in (tmp_path / "out" / "run.out").read_text()


def test_a_scaling_study_ends_with_its_table(slurm, made, tmp_path):
    job = slurm.submit(
        tmp_path, "--nodes=2", *SMALL[1:], "--export=ALL,SCALING_WORKERS=1 2,SCALING_ITERATIONS=1",
        ROOT / "slurm" / "scaling.sbatch", "--i", made.particles, "--ref", made.reference,
        "--o", "out/run", "--healpix_order", "0", "--offset_range", "2", "--j", "1",
    )  # fmt: skip
    told = finished(slurm, job, tmp_path)
    assert "2 rank(s): 2 on n1" in told
    assert "3 rank(s): 2 on n1, 1 on n2" in told
    table = told[told.index("efficiency") :].splitlines()[1:3]
    assert [row.split()[0] for row in table] == ["1", "2"]
