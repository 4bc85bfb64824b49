"""`relion-mpi class2d` as a job: the same numbers on any ranks, and after an interruption."""

from __future__ import annotations

import pytest
from factories.project import noise_project
from launcher import finish, mpiexec, needs_mpiexec

from relion_mpi.io.star import read_star

pytestmark = needs_mpiexec

# The first run on a machine compiles all kernels, on every rank: more than a minute.
RUNS_WITHIN = 400.0


def done(n_ranks, *words):
    status, output, errors = finish(
        mpiexec(n_ranks, "-m", "relion_mpi.cli.main", *map(str, words)), RUNS_WITHIN
    )
    assert status == 0, output + errors


def averages(out):
    return (out / "run_it002_classes.mrcs").read_bytes()


@pytest.fixture(scope="module")
def one_rank(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    made = noise_project(folder, n=30, box=16)
    words = ("--i", made.star, "--K", 3, "--iter", 2, "--random_seed", 4, "--psi_step", 45)
    words = ("class2d", *words, "--batch", 7, "--j", 1, "--o")
    done(1, *words, folder / "one" / "run")
    return folder, words


def test_three_ranks_find_the_same_bits_as_one(one_rank):
    folder, words = one_rank
    done(3, *words, folder / "three" / "run")
    assert averages(folder / "three") == averages(folder / "one")
    tables = [read_star(folder / n / "run_it002_data.star")["particles"] for n in ("one", "three")]
    assert tables[0].equals(tables[1], null_equal=True)


def test_a_run_goes_on_as_if_it_had_not_ended(one_rank):
    folder, _ = one_rank
    before = folder / "one" / "run_it001_optimiser.star"
    done(1, "class2d", "--continue", before, "--o", folder / "on" / "run")
    assert averages(folder / "on") == averages(folder / "one")


def test_particles_of_a_class_are_selected(one_rank):
    folder, _ = one_rank
    found = folder / "one" / "run_it002_optimiser.star"
    numbers = read_star(folder / "one" / "run_it002_data.star")["particles"]["rlnClassNumber"]
    number = numbers[0]
    done(1, "select", "--i", found, "--classes", number, "--o", folder / "chosen.star")
    chosen = read_star(folder / "chosen.star")["particles"]
    assert set(chosen["rlnClassNumber"]) == {number}
    assert len(chosen) == (numbers == number).sum()
