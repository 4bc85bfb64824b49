"""A line of relion_refine_mpi as a job: the numbers of refine3d, and signs for the interface."""

from __future__ import annotations

import pytest
from launcher import finish, mpiexec, needs_mpiexec

from relion_mpi.io.star import read_star
from relion_mpi.simulate.options import SimulateOptions
from relion_mpi.simulate.particle_set import simulate

pytestmark = needs_mpiexec

# The first run on a machine compiles all kernels, on every rank: more than a minute.
RUNS_WITHIN = 400.0
STARTING = 30.0
SHORT = ("--sym", "D2", "--healpix_order", "1", "--auto_iter_max", "2", "--random_seed", "1")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    return simulate(SimulateOptions(
        o=folder, n=80, box=28, angpix=8.0, sym="D2", snr=0.2, ini_high=40.0,
    ))  # fmt: skip


def job(n_ranks, made, command, out, *words):
    """Start a command on the set; its folder is there, as the interface makes it."""
    out.mkdir()
    return mpiexec(
        n_ranks, "-m", "relion_mpi.cli.main", command, "--i", str(made.particles),
        "--ref", str(made.reference), "--o", str(out / "run"),
        "--pipeline_control", f"{out}/", *words,
    )  # fmt: skip


def signs(out):
    return {path.name for path in out.glob("RELION_JOB_*")}


def test_a_line_gives_the_numbers_of_refine3d_with_the_same_choices(made, tmp_path):
    ours, theirs = tmp_path / "refine3d", tmp_path / "refine"
    jobs = [
        job(2, made, "refine3d", ours, *SHORT, "--no-firstiter_cc", "--no-scale"),
        job(3, made, "refine", theirs, *SHORT, "--auto_refine", "--split_random_halves",
            "--ini_high", "60", "--ctf", "--norm", "--flatten_solvent", "--zero_mask",
            "--low_resol_join_halves", "40", "--offset_range", "5", "--j", "1",
            "--pool", "30", "--dont_combine_weights_via_disc"),
    ]  # fmt: skip
    for one in jobs:
        status, output, _ = finish(one, RUNS_WITHIN)
        assert status == 0, output
    assert signs(ours) == signs(theirs) == {"RELION_JOB_EXIT_SUCCESS"}
    for name in ("run_it002_data.star", "run_it002_sampling.star"):
        first, second = read_star(ours / name), read_star(theirs / name)
        assert first.keys() == second.keys()
        for block, table in first.items():
            if hasattr(table, "equals"):
                assert table.equals(second[block], null_equal=True), f"{name} {block}"
            else:
                assert table == second[block], f"{name} {block}"


def test_a_line_for_something_else_is_refused_once_with_a_sign(made, tmp_path):
    out = tmp_path / "out"
    words = ("--denovo_3dref", "--grad", "--iter", "25")
    status, output, _ = finish(job(3, made, "refine", out, *words), STARTING)
    assert status == 1
    assert output.count("error: --ref: an initial model begins without a reference") == 1
    assert "Traceback" not in output
    assert signs(out) == {"RELION_JOB_EXIT_FAILURE"}
