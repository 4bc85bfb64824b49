"""`relion-mpi autopick` as a job: the same picks on any ranks and in any order."""

from __future__ import annotations

import polars as pl
import pytest
from factories import picked_micrographs as made
from launcher import finish, mpiexec, needs_mpiexec

from relion_mpi.io.star import read_star, write_star

pytestmark = needs_mpiexec

RUNS_WITHIN = 300.0
SIZE = (160, 200)
PARTICLES = made.placed(SIZE)


@pytest.fixture(scope="module")
def star(tmp_path_factory):
    images = [made.micrograph(PARTICLES, SIZE, noise=0.4, seed=k) for k in range(5)]
    return made.write_set(tmp_path_factory.mktemp("set"), images)


def done(n_ranks, star, out, *words):
    status, output, _ = finish(
        mpiexec(n_ranks, "-m", "relion_mpi.cli.main", "autopick", "--i", str(star), "--odir",
                str(out), "--ref", str(star.parent / "templates.mrcs"), "--invert", "--ang", "30",
                "--particle_diameter", "96", "--pictures", "1", *words), RUNS_WITHIN
    )  # fmt: skip
    return status, output


def texts(out):
    return {path.name: path.read_bytes() for path in out.glob("mic*.star")}


def test_any_ranks_and_any_order_give_the_same_files(star, tmp_path):
    tables = read_star(star)
    rows = tables["micrographs"]
    other = star.with_name("reversed.star")
    write_star(other, {**tables, "micrographs": rows.reverse()})
    found = []
    for n_ranks, given in ((1, star), (2, other), (4, star)):
        out = tmp_path / str(n_ranks)
        status, output = done(n_ranks, given, out)
        assert status == 0, output
        found.append(texts(out))
        listed = read_star(out / "autopick.star")["coordinate_files"]
        assert isinstance(listed, pl.DataFrame)
        assert listed.height == 5
    assert len(found[0]) == 5
    assert found[0] == found[1] == found[2]


def test_wrong_input_ends_all_ranks_with_one_message(star, tmp_path):
    status, output = done(3, star, tmp_path / "out", "--ctf")
    assert status == 1
    assert output.count("relion-mpi: error") == 1
    assert "rlnDefocusU" in output
