"""`relion-mpi initialmodel` as a job: the true map from nothing, interrupted or not."""

from __future__ import annotations

import pytest
from launcher import finish, mpiexec, needs_mpiexec

from relion_mpi.compare.maps import compare_maps
from relion_mpi.io.mrc import read_map
from relion_mpi.io.star import read_star

pytestmark = needs_mpiexec

# The first run on a machine compiles all kernels, on every rank: more than a minute.
RUNS_WITHIN = 400.0
PIXEL, BOX = 7.0, 32


def done(n_ranks, *words):
    status, output, errors = finish(
        mpiexec(n_ranks, "-m", "relion_mpi.cli.main", *map(str, words)), RUNS_WITHIN
    )
    assert status == 0, output + errors


def volume(out, iteration=30):
    return out / f"run_it{iteration:03d}_class001.mrc"


@pytest.fixture(scope="module")
def one_rank(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    done(1, "simulate", "--o", folder, "--n", 400, "--box", BOX, "--angpix", PIXEL, "--sym", "D2",
         "--snr", 0.5, "--seed", 3)  # fmt: skip
    words = ("initialmodel", "--i", folder / "particles.star", "--sym", "D2", "--iter", 30)
    words += ("--particle_diameter", 180, "--grad_fin_subset", 200, "--random_seed", 1, "--j", 1)
    done(1, *words, "--o", folder / "one" / "run")
    return folder, words


def test_the_true_map_is_found_from_nothing(one_rank):
    folder, _ = one_rank
    truth, found = (
        read_map(path)[0] for path in (folder / "truth_class001.mrc", volume(folder / "one"))
    )
    compared = compare_maps(truth, found, PIXEL)
    below_half = compared.resolution_after_angst[1]
    assert below_half < 16.0  # data to 15 A were used
    assert (compared.fsc_after[1:10] > 0.9).all()


def test_three_ranks_find_the_same_bits_as_one(one_rank):
    folder, words = one_rank
    done(3, *words, "--o", folder / "three" / "run")
    assert volume(folder / "three").read_bytes() == volume(folder / "one").read_bytes()
    tables = [read_star(folder / n / "run_it030_data.star")["particles"] for n in ("one", "three")]
    assert tables[0].equals(tables[1], null_equal=True)


def test_a_run_goes_on_with_the_sums_it_had(one_rank):
    folder, _ = one_rank
    before = folder / "one" / "run_it020_optimiser.star"
    done(1, "initialmodel", "--continue", before, "--o", folder / "on" / "run")
    assert volume(folder / "on").read_bytes() == volume(folder / "one").read_bytes()


def test_files_are_written_after_every_tenth_mini_batch_alone(one_rank):
    folder, _ = one_rank
    found = sorted(path.name for path in (folder / "one").glob("*_data.star"))
    assert found == [f"run_it{i:03d}_data.star" for i in (0, 10, 20, 30)]
