"""Interrupted or failed, and continued on other ranks: the bits of a run that went through."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from launcher import finish, mpiexec, needs_mpiexec

from relion_mpi.io.star import read_star
from relion_mpi.refine.checkpoint import read_state
from relion_mpi.simulate.options import SimulateOptions
from relion_mpi.simulate.particle_set import simulate

pytestmark = needs_mpiexec

# The first run on a machine compiles all kernels, on every rank: more than a minute.
RUNS_WITHIN = 400.0
ENDS_WITHIN = 15.0
MRC_HEADER = 1024
INTERRUPTED, ABORTED = 75, 2
COARSE = ("--sym", "D2", "--healpix_order", "1", "--offset_range", "3")
LONG = ("--healpix_order", "3", "--auto_iter_max", "1")


def particle_set(folder, **changes):
    values = {"n": 160, "box": 28, "angpix": 8.0, "sym": "D2", "snr": 0.2, "ini_high": 40.0}
    return simulate(SimulateOptions(o=folder, **(values | changes)))


def job(n_ranks, *words, command="refine3d"):
    return mpiexec(n_ranks, "-m", "relion_mpi.cli.main", command, *words)


def done(one):
    status, output, _ = finish(one, RUNS_WITHIN)
    assert status == 0, output
    return output


def anew(made, out):
    out.mkdir(exist_ok=True)
    return ("--i", str(made.particles), "--ref", str(made.reference), "--o", str(out / "run"),
            "--random_seed", "1")  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return particle_set(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="module")
def whole(made, tmp_path_factory):
    """Four iterations on two ranks."""
    out = tmp_path_factory.mktemp("whole")
    done(job(2, *anew(made, out), *COARSE, "--auto_iter_max", "4"))
    return out


def same(a, b, iteration):
    """Hold two folders against each other: voxels and tables."""
    for half in (1, 2):
        name = f"run_it{iteration:03d}_half{half}_class001.mrc"
        assert (a / name).read_bytes()[MRC_HEADER:] == (b / name).read_bytes()[MRC_HEADER:], name
        name = f"run_it{iteration:03d}_half{half}_model.star"
        first, second = read_star(a / name), read_star(b / name)
        assert first.keys() == second.keys()
        for block, table in first.items():
            if block != "model_classes":  # that one names files
                assert equal(table, second[block]), f"{name} {block}"
    for name in (f"run_it{iteration:03d}_data.star", f"run_it{iteration:03d}_sampling.star"):
        assert (a / name).read_text() == (b / name).read_text(), name
    first, second = (read_state(one / f"run_it{iteration:03d}_state.h5") for one in (a, b))
    assert first.schedule == second.schedule
    assert first.run.random == second.run.random
    for one, other in zip(first.model.halves, second.model.halves, strict=True):
        np.testing.assert_array_equal(one.maps, other.maps)
    for name, column in first.run.particles.items():
        np.testing.assert_array_equal(column, second.run.particles[name], err_msg=name)


def equal(a, b):
    return a.equals(b, null_equal=True) if hasattr(a, "equals") else a == b


@pytest.mark.parametrize("n_ranks", [1, 3])
def test_a_continued_run_has_the_bits_of_one_that_went_through(made, whole, tmp_path, n_ranks):
    out = tmp_path / "out"
    done(job(2, *anew(made, out), *COARSE, "--auto_iter_max", "2"))
    optimiser = str(out / "run_it002_optimiser.star")
    done(job(n_ranks, "--continue", optimiser, "--auto_iter_max", "4"))
    same(whole, out, 3)
    same(whole, out, 4)
    assert {p.name for p in whole.iterdir()} == {p.name for p in out.iterdir()}


def test_a_line_of_the_interface_continues_under_its_new_name(made, whole, tmp_path):
    out = tmp_path / "out"
    done(job(3, *anew(made, out), *COARSE, "--auto_iter_max", "3"))
    done(job(
        2, "relion_refine_mpi", "--continue", str(out / "run_it003_optimiser.star"), "--o",
        str(out / "run_ct3"), "--pool", "30", "--dont_combine_weights_via_disc", "--pad", "2",
        "--auto_iter_max", "4", "--j", "1", "--pipeline_control", f"{out}/", command="refine",
    ))  # fmt: skip
    assert (out / "RELION_JOB_EXIT_SUCCESS").exists()
    assert not (out / "run_it004_data.star").exists()
    first, second = whole / "run_it004_half1_class001.mrc", out / "run_ct3_it004_half1_class001.mrc"
    assert first.read_bytes()[MRC_HEADER:] == second.read_bytes()[MRC_HEADER:]
    first, second = whole / "run_it004_data.star", out / "run_ct3_it004_data.star"
    assert first.read_text() == second.read_text()


def test_what_cannot_be_continued_is_one_line_on_all_ranks(whole):
    one = job(3, "--continue", str(whole / "run_it001_optimiser.star"))
    status, output, _ = finish(one, RUNS_WITHIN)
    assert status == 1
    assert output.count("relion-mpi: error: --continue") == 1
    assert "run_it003_optimiser.star or" in output
    assert "Traceback" not in output


def request(how, process, out):
    if how == "file":
        (out / "RELION_JOB_ABORT_NOW").touch()
    else:
        os.kill(process.pid, how)


@pytest.mark.parametrize(
    ("how", "expected"),
    [(signal.SIGUSR1, INTERRUPTED), (signal.SIGTERM, INTERRUPTED), ("file", ABORTED)],
    ids=["USR1", "TERM", "file"],
)
def test_a_run_that_is_asked_to_end_ends_whole_and_goes_on(tmp_path, how, expected):
    made = particle_set(tmp_path / "set", sym="C1", n=400)
    out = tmp_path / "out"
    control = ("--pipeline_control", f"{out}/")
    process = job(3, *anew(made, out), *LONG, *control)
    deadline = time.monotonic() + RUNS_WITHIN
    while not (out / "run_it000_optimiser.star").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, finish(process, 1)
        time.sleep(0.02)
    request(how, process, out)
    status, output, _ = finish(process, ENDS_WITHIN)
    assert status == expected, output
    line = f"go on with: relion-mpi refine3d --continue {out / 'run_it000_optimiser.star'}"
    assert output.count(line) == 1, output
    assert "Traceback" not in output
    assert {p.name for p in out.glob("RELION_JOB_*")} == {"RELION_JOB_EXIT_ABORTED"}
    assert not list(out.glob("*_it001_*"))
    assert not list(out.glob(".*"))  # no file is left half written
    done(job(2, "--continue", str(out / "run_it000_optimiser.star"), *control))
    assert {p.name for p in out.glob("RELION_JOB_*")} == {"RELION_JOB_EXIT_SUCCESS"}
    assert read_star(out / "run_it001_data.star")["particles"].height == 400


# Whatever ends a job in the middle of an iteration

ALWAYS = ("--checkpoint_minutes", "1e-6")


@pytest.fixture(scope="module")
def longer(tmp_path_factory):
    """A set whose first iteration takes seconds, and that iteration."""
    made = particle_set(tmp_path_factory.mktemp("longer"), sym="C1", n=200)
    out = made.particles.parent / "whole"
    done(job(3, *anew(made, out), *LONG))
    return made, out


def begun(made, out, *words, n_ranks=3):
    """Start its iteration on several ranks; return when some of it has been saved."""
    process = job(n_ranks, *anew(made, out), *LONG, "--pipeline_control", f"{out}/", *words)
    deadline = time.monotonic() + RUNS_WITHIN
    partial = out / "run_it001_partial.h5"
    while not (partial if "--checkpoint_minutes" in words else out / "run_it000_optimiser.star"
               ).exists():  # fmt: skip
        assert time.monotonic() < deadline
        assert process.poll() is None, finish(process, 1)
        time.sleep(0.02)
    return process


def pid_of(out, rank):
    """Find a rank by what it was started with."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().decode().split("\0")
            environment = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if str(out / "run") in line and f"PMI_RANK={rank}" in environment:
            return int(folder.name)
    raise AssertionError(f"there is no rank {rank}")


def goes_on(longer, out, n_ranks, *words):
    """Continue, and hold the result against the whole run; return what the job said."""
    optimiser = out / "run_it000_optimiser.star"
    said = done(job(n_ranks, "--continue", str(optimiser), "--pipeline_control", f"{out}/", *words))
    same(longer[1], out, 1)
    assert {path.name for path in out.glob("RELION_JOB_*")} == {"RELION_JOB_EXIT_SUCCESS"}
    assert {path.name for path in longer[1].iterdir()} == {
        path.name for path in out.iterdir() if not path.name.startswith("RELION_JOB_")
    }
    return said


def failed(process, out, seconds=30.0):
    """See a job end by itself, with a sign for the interface; return what it said."""
    status, output, _ = finish(process, seconds)
    assert status not in (0, INTERRUPTED, ABORTED), output
    deadline = time.monotonic() + 5
    while not (out / "RELION_JOB_EXIT_FAILURE").exists():
        assert time.monotonic() < deadline, output
        time.sleep(0.02)
    return output


@pytest.mark.parametrize("n_ranks", [1, 4])
def test_an_iteration_that_is_asked_to_end_goes_on_in_its_middle(longer, tmp_path, n_ranks):
    out = tmp_path / "out"
    process = begun(longer[0], out, *ALWAYS)
    process.send_signal(signal.SIGTERM)
    status, output, _ = finish(process, ENDS_WITHIN)
    assert status == INTERRUPTED, output
    assert "batches are done and saved: " in output
    assert "Going on within iteration 1, of which " in goes_on(longer, out, n_ranks)


@pytest.mark.parametrize("rank", [0, 2])
def test_a_rank_killed_in_the_middle_of_an_iteration_leaves_what_was_saved(longer, tmp_path, rank):
    out = tmp_path / "out"
    process = begun(longer[0], out, *ALWAYS)
    os.kill(pid_of(out, rank), signal.SIGKILL)
    failed(process, out)
    assert "Going on within iteration 1, of which " in goes_on(longer, out, 2, *ALWAYS)


def test_a_disk_that_is_full_ends_the_run_which_goes_on_once_there_is_space(longer, tmp_path):
    out = tmp_path / "out"
    process = begun(longer[0], out)
    # No file may grow any more: the nearest to a full disk that needs no rights.
    resource.prlimit(pid_of(out, 0), resource.RLIMIT_FSIZE, (4096, 4096))
    output = failed(process, out)
    assert output.count("could not be written (") == 1, output
    assert "Traceback" not in output
    assert not (out / "run_it001_optimiser.star").exists()
    assert not list(out.glob(".*"))
    goes_on(longer, out, 2)


def test_a_stack_that_vanishes_ends_the_run_which_goes_on_once_it_is_back(longer, tmp_path):
    made, out = longer[0], tmp_path / "out"
    stack = made.particles.with_suffix(".mrcs")
    shutil.copy(stack, tmp_path / "kept.mrcs")
    process = begun(made, out, "--no-preread_images")
    os.truncate(stack, MRC_HEADER)
    try:
        output = failed(process, out)
    finally:
        shutil.copy(tmp_path / "kept.mrcs", stack)
    assert f"{stack}: the file ends at byte " in output
    assert ", expected 200 images; it changed after the run began" in output
    assert "Traceback" not in output
    goes_on(longer, out, 2)
