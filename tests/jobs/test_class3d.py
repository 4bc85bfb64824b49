"""`relion-mpi class3d` as a job: the same numbers on any ranks, and after an interruption."""

from __future__ import annotations

import numpy as np
import pytest
from factories.maps import blob_map
from launcher import finish, mpiexec, needs_mpiexec

from relion_mpi.io.mrc import read_map, write_map
from relion_mpi.io.star import read_star
from relion_mpi.simulate.options import SimulateOptions
from relion_mpi.simulate.particle_set import simulate

pytestmark = needs_mpiexec

# The first run on a machine compiles all kernels, on every rank: more than a minute.
RUNS_WITHIN = 400.0
N_ITERATIONS = 3


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    maps = tuple(folder / f"structure{k}.mrc" for k in (1, 2))
    for k, path in enumerate(maps):
        write_map(path, blob_map(28, k), 8.0)
    return simulate(SimulateOptions(o=folder, map=maps, n=120, snr=0.5, box=28, angpix=8.0))


def classified(n_ranks, *words):
    status, output, errors = finish(
        mpiexec(n_ranks, "-m", "relion_mpi.cli.main", "class3d", *map(str, words)), RUNS_WITHIN
    )
    assert status == 0, output + errors
    return output


def options(made, out):
    return (
        "--i", made.particles, "--ref", made.reference, "--K", 2, "--o", out / "run",
        "--random_seed", 1, "--healpix_order", 0, "--offset_range", 3,
    )  # fmt: skip


@pytest.fixture(scope="module")
def one_rank(made, tmp_path_factory):
    out = tmp_path_factory.mktemp("ranks") / "one"
    output = classified(1, *options(made, out), "--iter", N_ITERATIONS)
    return out, output


def same_end(a, b):
    last = f"run_it{N_ITERATIONS:03d}"
    for k in (1, 2):
        first, second = (read_map(out / f"{last}_class{k:03d}.mrc")[0] for out in (a, b))
        np.testing.assert_array_equal(first, second)
    tables = [read_star(out / f"{last}_data.star")["particles"] for out in (a, b)]
    assert tables[0].equals(tables[1], null_equal=True)


def test_files_are_those_of_a_classification(one_rank):
    out, output = one_rank
    names = {path.name for path in out.iterdir()}
    assert {"run_it003_class002.mrc", "run_it003_model.star", "run_it003_data.star"} <= names
    assert not [name for name in names if "half" in name]
    table = read_star(out / "run_it003_data.star")["particles"]
    assert "rlnRandomSubset" not in table.columns
    assert set(table["rlnClassNumber"]) == {1, 2}
    assert "classes " in output


def test_every_number_is_the_same_on_three_ranks(made, one_rank, tmp_path):
    classified(3, *options(made, tmp_path), "--iter", N_ITERATIONS)
    same_end(one_rank[0], tmp_path)


def test_a_run_that_is_continued_ends_as_one_that_was_not_interrupted(made, one_rank, tmp_path):
    # After the first iteration, in which there is one class, and before the one with seeds.
    classified(2, *options(made, tmp_path), "--iter", 1)
    optimiser = tmp_path / "run_it001_optimiser.star"
    classified(1, "--continue", optimiser, "--iter", N_ITERATIONS)
    same_end(one_rank[0], tmp_path)
