"""`relion-mpi reconstruct` and `subtract` as jobs: the same bits on any ranks."""

from __future__ import annotations

import numpy as np
import polars as pl
from factories.refinement import particle_set
from factories.subtraction import make_bodies
from launcher import finish, mpiexec, needs_mpiexec

from relion_mpi.io.mrc import read_map, write_map
from relion_mpi.io.star import read_star, write_star

pytestmark = needs_mpiexec

# The first run on a machine compiles all kernels, on every rank: more than a minute.
RUNS_WITHIN = 400.0


def run(n_ranks, *words):
    status, output, _ = finish(
        mpiexec(n_ranks, "-m", "relion_mpi.cli.main", *map(str, words)), RUNS_WITHIN
    )
    return status, output


def test_maps_are_the_same_on_any_number_of_ranks(tmp_path):
    made = particle_set(tmp_path / "set", n=100, box=24, sym="C1")
    blocks = read_star(made.truth)
    halves = pl.Series("rlnRandomSubset", 1 + np.arange(100) % 2)
    blocks["particles"] = blocks["particles"].with_columns(halves)
    write_star(made.truth, blocks)
    for n_ranks in (1, 3):
        words = "--i", made.truth, "--o", tmp_path / str(n_ranks) / "map.mrc", "--ctf", "--halves"
        status, output = run(n_ranks, "reconstruct", *words, "--sym", "C2")
        assert status == 0, output
    for name in ("map.mrc", "map_half1.mrc", "map_half2.mrc"):
        assert (tmp_path / "3" / name).read_bytes() == (tmp_path / "1" / name).read_bytes()


def test_images_are_the_same_on_any_number_of_ranks(tmp_path):
    made = make_bodies(tmp_path / "set", halves=2, norms=True)
    for n_ranks in (1, 3):
        words = "--i", made.optimiser, "--mask", made.mask, "--o", tmp_path / str(n_ranks)
        status, output = run(n_ranks, "subtract", *words, "--recenter_on_mask")
        assert status == 0, output
    stack = "Particles/subtracted_opticsgroup1.mrcs"
    assert (tmp_path / "1" / stack).read_bytes() == (tmp_path / "3" / stack).read_bytes()
    one, three = (read_star(tmp_path / n / "particles_subtracted.star")["particles"] for n in "13")
    assert one.drop("rlnImageName").equals(three.drop("rlnImageName"))


def test_a_broken_image_ends_all_ranks_with_one_line_and_no_files(tmp_path):
    made = make_bodies(tmp_path / "set")
    images, pixel = read_map(made.folder / "particles.mrcs")
    images = images.copy()
    images[9] = np.nan
    write_map(made.folder / "particles.mrcs", images, pixel, stack=True)
    words = "--i", made.optimiser, "--mask", made.mask, "--o", tmp_path / "out"
    status, output = run(3, "subtract", *words)
    assert status == 1
    assert "row 10: found NaN or infinite pixels" in output
    assert "Traceback" not in output
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []
