"""Interrupted and continued, on other ranks: the bits of a run that went through."""

from __future__ import annotations

import os
import signal
import time

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
