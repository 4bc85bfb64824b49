"""`relion-mpi refine3d` as a job: the same numbers on any ranks, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from launcher import finish, mpiexec, needs_mpiexec

from relion_mpi.geometry.euler import euler_to_matrix
from relion_mpi.io.star import read_star, write_star
from relion_mpi.simulate.options import SimulateOptions
from relion_mpi.simulate.particle_set import simulate

pytestmark = needs_mpiexec

# The first run on a machine compiles all kernels, on every rank: more than a minute.
RUNS_WITHIN = 400.0
ENDS_WITHIN = 5.0
STARTING = 30.0
MRC_HEADER = 1024

# Errors of the ranks go to a file, so that they can be told from mpiexec's own words.
PROGRAM = """
import os, sys
os.dup2(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
from relion_mpi.cli.main import main
sys.exit(main(sys.argv[2:]))
"""


@dataclass
class Job:
    """A refinement under mpiexec."""

    process: object
    errors: Path

    def end(self, seconds):
        status, output, _ = finish(self.process, seconds)
        told = self.errors.read_text() if self.errors.exists() else ""
        return status, output, told


def particle_set(folder, **changes):
    values = {"n": 160, "box": 28, "angpix": 8.0, "sym": "D2", "snr": 0.2, "ini_high": 40.0}
    return simulate(SimulateOptions(o=folder, **(values | changes)))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return particle_set(tmp_path_factory.mktemp("set"))


def start(n_ranks, made, out, *words):
    errors = out.parent / f"{out.name}.errors"
    process = mpiexec(
        n_ranks, "-c", PROGRAM, str(errors), "refine3d", "--i", str(made.particles),
        "--ref", str(made.reference), "--o", str(out / "run"), "--random_seed", "1", *words,
    )  # fmt: skip
    return Job(process, errors)


def refined(n_ranks, made, out, *words):
    status, output, told = start(n_ranks, made, out, *words).end(RUNS_WITHIN)
    assert status == 0, output + told
    return out


COARSE = ("--sym", "D2", "--healpix_order", "1", "--offset_range", "3", "--auto_iter_max", "4")


@pytest.fixture(scope="module")
def one_rank(made, tmp_path_factory):
    return refined(1, made, tmp_path_factory.mktemp("ranks") / "one", *COARSE)


@pytest.mark.parametrize("n_ranks", [2, 3, 4, 5, pytest.param(7, marks=pytest.mark.slow)])
def test_every_number_is_the_same_on_any_number_of_ranks(made, one_rank, tmp_path, n_ranks):
    # On CPUs the option only says what is so without it.
    words = ("--deterministic",) if n_ranks == 4 else ()
    several = refined(n_ranks, made, tmp_path / "out", *COARSE, *words)
    names = sorted(p.name for p in one_rank.iterdir())
    assert names == sorted(p.name for p in several.iterdir())
    assert "run_it004_half2_class001.mrc" in names
    for name in names:
        a, b = one_rank / name, several / name
        if name.endswith(".mrc"):
            assert a.read_bytes()[MRC_HEADER:] == b.read_bytes()[MRC_HEADER:], name
        elif name.endswith(("_data.star", "_model.star", "_sampling.star")):
            same_tables(a, b)


def same_tables(a, b):
    first, second = read_star(a), read_star(b)
    assert first.keys() == second.keys()
    for block, table in first.items():
        if hasattr(table, "equals") and block != "model_classes":  # that one names files
            assert table.equals(second[block], null_equal=True), f"{a.name} {block}"
        elif not hasattr(table, "equals"):
            assert table == second[block], f"{a.name} {block}"


def test_single_precision_finds_the_poses_of_double_precision(made, tmp_path):
    words = ("--sym", "D2", "--healpix_order", "1", "--no-firstiter_cc", "--auto_iter_max", "1")
    tables = []
    for precision in ("float32", "float64"):
        out = refined(1, made, tmp_path / precision, *words, "--precision", precision,
                      "--ini_high", "30")  # fmt: skip
        tables.append(read_star(out / "run_it001_data.star")["particles"])
    single, double = tables
    columns = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
    poses = [euler_to_matrix(*(t[c].to_numpy() for c in columns)) for t in tables]
    # The same grid sample: all else is steps away. Ties to 1e-7 may be decided either way.
    assert (np.abs(poses[0] - poses[1]).max(axis=(1, 2)) < 1e-3).mean() >= 0.99
    label = "rlnMaxValueProbDistribution"
    pmax = single[label].to_numpy(), double[label].to_numpy()
    assert np.ptp(pmax[1]) > 0.1
    assert (np.abs(pmax[0] - pmax[1]) < 0.01).mean() >= 0.99


FINAL = {
    "run_class001.mrc", "run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc",
    "run_data.star", "run_model.star", "run_sampling.star", "run_class001_angdist.bild",
    "run_metrics.jsonl", "run_optimiser.star", "run_report.html",
}  # fmt: skip


def test_a_converged_run_leaves_the_final_files(tmp_path):
    made = particle_set(tmp_path / "set", snr=0.1, sym="O", n=120, box=24, angpix=10.0)
    words = ("--sym", "O", "--healpix_order", "1", "--offset_range", "2", "--ini_high", "40")
    out = refined(2, made, tmp_path / "out", *words, "--report")
    assert {p.name for p in out.iterdir() if "_it" not in p.name} == FINAL
    assert 'data-state="finished"' in (out / "run_report.html").read_text(encoding="utf-8")
    general = read_star(out / "run_model.star")["model_general"]
    assert int(general["rlnCurrentImageSize"]) == 24
    particles = read_star(out / "run_data.star")["particles"]
    assert particles.height == 120
    joined, half = (
        np.frombuffer((out / name).read_bytes()[MRC_HEADER:], "<f4")
        for name in ("run_class001.mrc", "run_half1_class001_unfil.mrc")
    )
    assert joined.size == half.size == 24**3
    assert np.corrcoef(joined, half)[0, 1] > 0.5


# What a user may do wrong


def wrong_column(made, folder):
    blocks = read_star(made.particles)
    particles = blocks["particles"].rename({"rlnImageName": "rlnImagename"})
    write_star(folder / "wrong.star", {**blocks, "particles": particles})
    return folder / "wrong.star"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--i", "nowhere.star"), "nowhere.star"),
        (("--i", "WRONG"), "rlnImageName"),
        (("--sym", "Q3"), "Q3"),
        (("--symmetry", "D2"), "unknown option --symmetry"),
        (("--particle_diameter", "225"), "--particle_diameter 225 is larger than the box"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(made, tmp_path, words, message):
    words = [str(wrong_column(made, tmp_path)) if w == "WRONG" else w for w in words]
    began = time.monotonic()
    status, output, told = start(3, made, tmp_path / "out", *words).end(STARTING)
    assert time.monotonic() - began < STARTING
    assert status == 1
    assert told.startswith("relion-mpi: error: ")
    assert message in told
    assert told.count("\n") == 1, told
    assert "Traceback" not in output + told
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_cannot_be_made_is_one_line(made, tmp_path):
    (tmp_path / "file").write_text("in the way")
    out = tmp_path / "file" / "out"
    errors = tmp_path / "errors"
    process = mpiexec(
        3, "-c", PROGRAM, str(errors), "refine3d", "--i", str(made.particles),
        "--ref", str(made.reference), "--o", str(out / "run"),
    )  # fmt: skip
    status, output, told = Job(process, errors).end(STARTING)
    assert status == 1
    assert told.count("\n") == 1, told
    assert f"--o {out / 'run'}: its folder cannot be made (Not a directory)" in told
    assert "Traceback" not in output + told


# Faults while it runs

LONG = ("--healpix_order", "3", "--auto_iter_max", "3")


@pytest.fixture
def running(tmp_path):
    """A long job on three ranks whose first files are there; stopped afterwards."""
    made = particle_set(tmp_path / "set", sym="C1", n=400)
    out = tmp_path / "out"
    job = start(3, made, out, *LONG, "--no-preread_images")
    try:
        deadline = time.monotonic() + RUNS_WITHIN
        while not (out / "run_it000_optimiser.star").exists():
            assert time.monotonic() < deadline
            assert job.process.poll() is None, job.end(1)
            time.sleep(0.02)
        yield job, made, out
    finally:
        if job.process.poll() is None:
            job.process.terminate()
            job.process.communicate(timeout=10)


def pid_of_rank(rank, word):
    """Find the process of a rank by a word of its command line."""
    for folder in Path("/proc").iterdir():
        try:
            if word.encode() not in (folder / "cmdline").read_bytes():
                continue
            if f"PMI_RANK={rank}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                return int(folder.name)
        except (OSError, ValueError):
            continue
    pytest.skip("no rank was found in /proc")


def test_killing_a_worker_ends_the_job(running):
    job, _, out = running
    os.kill(pid_of_rank(2, str(out)), signal.SIGKILL)
    killed = time.monotonic()
    status, _, _ = job.end(ENDS_WITHIN)
    assert status != 0
    assert time.monotonic() - killed < ENDS_WITHIN


def test_a_stack_that_is_truncated_ends_the_job_by_name(running):
    job, made, _ = running
    with made.stack.open("r+b") as handle:
        handle.truncate(MRC_HEADER)
    # A worker may be busy with images it has read before; it notices with the next batch.
    status, output, told = job.end(RUNS_WITHIN)
    assert status != 0
    assert re.search(rf"relion-mpi: error: {made.stack}: the file ends", told)
    assert "Traceback" not in output + told


def test_an_output_folder_that_vanishes_ends_the_job_with_the_reason(running):
    job, _, out = running
    out.rename(out.with_name("moved"))
    out.write_text("in the way")
    status, output, told = job.end(RUNS_WITHIN)
    assert status != 0
    assert f"relion-mpi: error: {out}" in told
    assert "could not be written" in told
    assert "Traceback" not in output + told


def test_images_that_were_read_once_are_not_read_again(tmp_path):
    made = particle_set(tmp_path / "set", sym="C1", n=200)
    out = tmp_path / "out"
    job = start(3, made, out, *LONG)
    deadline = time.monotonic() + RUNS_WITHIN
    while not (out / "run_it001_optimiser.star").exists():
        assert time.monotonic() < deadline
        assert job.process.poll() is None, job.end(1)
        time.sleep(0.02)
    made.stack.unlink()
    status, output, told = job.end(RUNS_WITHIN)
    assert status == 0, output + told
