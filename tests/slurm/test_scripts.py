"""Every batch script on a real Slurm of two nodes, and a job that is killed and started again."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from cluster import ROOT

from relion_mpi.simulate.options import SimulateOptions
from relion_mpi.simulate.particle_set import simulate

pytestmark = pytest.mark.slow

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
        assert state not in ("FAILED", "TIMEOUT", "NODE_FAIL"), text()
        return state == "COMPLETED"

    slurm.wait_for(has_ended, "the job", RUNS_WITHIN, text)
    return text()


def test_a_killed_job_on_two_nodes_goes_on_when_it_is_started_again(slurm, made, tmp_path):
    job = slurm.submit(
        tmp_path, "--nodes=2", *SMALL[1:], ROOT / "slurm" / "refine3d.sbatch",
        "--i", made.particles, "--ref", made.reference, "--o", "out/run", "--random_seed", "1",
        "--healpix_order", "3", "--offset_range", "2", "--auto_iter_max", "1", "--j", "1",
        "--checkpoint_minutes", "0.01",
    )  # fmt: skip
    partial = tmp_path / "out" / "run_it001_partial.h5"
    slurm.wait_for(partial.exists, "something saved", RUNS_WITHIN)
    assert (tmp_path / "out" / "run.lock").exists()
    # As after the loss of a node: all processes are killed, nothing is asked.
    slurm.ask("scancel", "--signal=KILL", "--full", job)
    slurm.ask("scontrol", "requeue", job)
    slurm.wait_for(lambda: slurm.field(job, "Restarts") == "1", "the requeue")
    slurm.wait_for(lambda: not slurm.is_on_a_node(job), "the end of its daemons", 60)
    slurm.ask("scontrol", "update", f"JobId={job}", "StartTime=now")
    told = finished(slurm, job, tmp_path)
    assert "4 rank(s): 2 on n1, 2 on n2" in told
    assert "Going on within iteration 1, of which " in told
    assert "its lock is void" in "".join(one.read_text() for one in tmp_path.glob("*.out"))


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
