"""Maps of particles at known poses: the truth, sums that add up, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from factories.refinement import fsc_with_truth, particle_set, refine

from relion_mpi.cli import main as command_line
from relion_mpi.core.errors import InputError
from relion_mpi.fourier.correlation import fourier_shell_correlation
from relion_mpi.fourier.shells import radius_grid
from relion_mpi.io.mrc import read_header, read_map, write_map
from relion_mpi.io.star import read_star, write_star
from relion_mpi.parallel.abort import AgreedStop
from relion_mpi.parallel.comm import World
from relion_mpi.reconstruct.not_here import REASONS, refused
from relion_mpi.reconstruct.options import ReconstructOptions
from relion_mpi.reconstruct.program import reconstruct
from relion_mpi.reconstruct.start import make_start

ALONE = World(None, 0, 1)
N, BOX = 240, 40


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A set whose table of true poses has half-sets and classes."""
    made = particle_set(tmp_path_factory.mktemp("set"), n=N, box=BOX, sym="C1", snr=0.3)
    blocks = read_star(made.truth)
    rng = np.random.default_rng(2)
    blocks["particles"] = blocks["particles"].with_columns(
        pl.Series("rlnRandomSubset", 1 + rng.permutation(N) % 2),
        pl.Series("rlnClassNumber", 1 + rng.permutation(N) % 3),
    )
    write_star(made.truth, blocks)
    return made


def map_of(path, out, **changes):
    reconstruct(ReconstructOptions(i=path, o=out, **({"ctf": True} | changes)), ALONE)
    return read_map(out)[0]


def test_a_map_at_the_true_poses_is_nearer_to_the_truth_than_a_refined_one(made, tmp_path):
    """Poses are the only difference; both maps are of the same half of the particles."""
    refined = refine(made, sym="C1", auto_iter_max=4, particles=made.truth)
    half = map_of(made.truth, tmp_path / "a.mrc", subset=1, skip_gridding=True)
    searched, known = (
        fsc_with_truth(made, one)[1 : BOX // 2] for one in (refined.halves[0].maps[0], half)
    )
    assert known.mean() > searched.mean() + 0.02


def test_the_fsc_with_the_truth_is_what_that_of_the_half_maps_foretells(made, tmp_path):
    """Rosenthal and Henderson 2003: sqrt(2 FSC / (1 + FSC)), where shells have enough voxels."""
    whole = map_of(made.truth, tmp_path / "a.mrc", halves=True, skip_gridding=True)
    first, second = (read_map(tmp_path / f"a_half{k}.mrc")[0] for k in (1, 2))
    fsc = fourier_shell_correlation(first.astype(float), second.astype(float))[4:11]
    assert fsc[-1] < 0.7  # else there is nothing to foretell
    expected = np.sqrt(2 * fsc / (1 + fsc))
    np.testing.assert_allclose(fsc_with_truth(made, whole)[4:11], expected, atol=0.05)


def test_images_without_noise_give_the_map_back_on_its_grey_scale(tmp_path):
    """But for shell 0, which the images lose, and for Nyquist, where the projector ends."""
    made = particle_set(tmp_path / "set", n=1200, box=32, sym="C1", no_noise=True)
    found = map_of(made.truth, tmp_path / "map.mrc", skip_gridding=True).astype(float)
    truth = read_map(made.maps[0])[0].astype(float)
    assert fsc_with_truth(made, found)[1:16].min() > 0.995
    shells = radius_grid(32, 3).round().astype(int)
    ours, theirs = (np.fft.fftshift(np.fft.fftn(one)) for one in (found, truth))
    for shell in range(1, 16):
        a, b = ours[shells == shell], theirs[shells == shell]
        # A linear interpolation each in the projection and the back-projection.
        assert np.vdot(b, a).real / np.vdot(b, b).real == pytest.approx(1, abs=0.03)


def test_the_sums_of_half_sets_add_up_to_those_of_all(made, tmp_path):
    """Bit for bit: the joined map of --halves is the map of all particles."""
    whole = map_of(made.truth, tmp_path / "whole.mrc")
    joined = map_of(made.truth, tmp_path / "joined.mrc", halves=True)
    np.testing.assert_array_equal(joined, whole)
    for number in (1, 2):
        alone = map_of(made.truth, tmp_path / "one.mrc", subset=number)
        of_both, _ = read_map(tmp_path / f"joined_half{number}.mrc")
        # Steps that sums are rounded to follow the number of particles.
        np.testing.assert_allclose(of_both, alone, atol=1e-6 * np.abs(alone).max())


def test_the_order_of_rows_does_not_change_a_bit(made, tmp_path):
    blocks = read_star(made.truth)
    order = np.random.default_rng(3).permutation(N)
    table = blocks["particles"][order]
    # Another order of micrographs, too: rows are sorted by it.
    names = [f"mic{k:03d}.mrc" for k in np.random.default_rng(4).integers(0, 50, N)]
    table = table.with_columns(pl.Series("rlnMicrographName", names))
    write_star(tmp_path / "shuffled.star", {**blocks, "particles": table})
    before = map_of(made.truth, tmp_path / "before.mrc")
    after = map_of(tmp_path / "shuffled.star", tmp_path / "after.mrc")
    np.testing.assert_array_equal(before, after)


def test_classes_and_half_sets_choose_particles(made):
    table = read_star(made.truth)["particles"]
    options = ReconstructOptions(i=made.truth, subset=2, class_=3)
    start = make_start(options)
    expected = table.filter((pl.col("rlnRandomSubset") == 2) & (pl.col("rlnClassNumber") == 3))
    rows = np.concatenate([batch.particles for batch in start.batches])
    names = start.particles.frame["rlnImageName"][np.sort(rows)].to_list()
    assert sorted(names) == sorted(expected["rlnImageName"].to_list())
    assert start.plan.n_particles == expected.height


def test_maps_of_two_optics_groups_are_on_the_first_one_s_grid(tmp_path):
    """The second group's images are the first one's on a coarser grid: the map is the same."""
    made = particle_set(tmp_path / "set", n=60, box=40, sym="C1", no_noise=True)
    images, pixel = read_map(made.particles.with_name("particles.mrcs"))
    transforms = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(images, (1, 2))), (1, 2))
    coarse = np.fft.fftshift(
        np.fft.ifft2(np.fft.ifftshift(transforms[:, 4:36, 4:36], (1, 2))), (1, 2)
    ).real
    # Grey values such that transforms, divided by the number of pixels, stay the same.
    write_map(tmp_path / "coarse.mrcs", coarse * (32 / 40) ** 2, pixel * 40 / 32, stack=True)
    blocks = read_star(made.truth)
    optics, table = blocks["optics"], blocks["particles"]
    other = optics.with_columns(
        rlnOpticsGroup=pl.lit(2, pl.Int64), rlnImagePixelSize=pl.lit(pixel * 40 / 32),
        rlnImageSize=pl.lit(32, pl.Int64),
    )  # fmt: skip
    second = table.with_columns(
        rlnOpticsGroup=pl.lit(2, pl.Int64),
        rlnImageName=pl.Series([f"{k + 1:06d}@{tmp_path}/coarse.mrcs" for k in range(60)]),
    )
    write_star(tmp_path / "two.star", {
        "optics": pl.concat([optics, other.select(optics.columns)]),
        "particles": pl.concat([table[:30], second[30:].select(table.columns)]),
    })  # fmt: skip
    limit = {"maxres": pixel * 40 / 14, "skip_gridding": True}
    one = map_of(made.truth, tmp_path / "one.mrc", **limit)
    two = map_of(tmp_path / "two.star", tmp_path / "two.mrc", **limit)
    assert read_header(tmp_path / "two.mrc").pixel_size_angst == pytest.approx(pixel)
    np.testing.assert_allclose(two, one, atol=1e-3 * np.abs(one).max())


def test_a_particle_that_cannot_be_used_is_left_out_and_listed(made, tmp_path):
    images, pixel = read_map(made.particles.with_name("particles.mrcs"))
    images = images.copy()
    images[7] = np.nan
    write_map(tmp_path / "bad.mrcs", images, pixel, stack=True)
    blocks = read_star(made.truth)
    table = blocks["particles"].with_columns(
        pl.Series("rlnImageName", [f"{k + 1:06d}@bad.mrcs" for k in range(N)])
    )
    write_star(tmp_path / "bad.star", {**blocks, "particles": table})
    good = table.filter(pl.col("rlnImageName") != "000008@bad.mrcs")
    write_star(tmp_path / "good.star", {**blocks, "particles": good})
    found = map_of(tmp_path / "bad.star", tmp_path / "map.mrc")
    expected = map_of(tmp_path / "good.star", tmp_path / "expected.mrc")
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())
    listed = read_star(tmp_path / "map_quarantine.star")["quarantine"]
    assert listed["rlnImageName"].to_list() == ["000008@bad.mrcs"]


def test_stacks_are_found_in_another_folder(made, tmp_path):
    blocks = read_star(made.truth)
    names = [f"{k + 1:06d}@lost/place/particles.mrcs" for k in range(N)]
    table = blocks["particles"].with_columns(pl.Series("rlnImageName", names))
    write_star(tmp_path / "lost.star", {**blocks, "particles": table})
    found = map_of(tmp_path / "lost.star", tmp_path / "a.mrc", img=made.truth.parent)
    np.testing.assert_array_equal(found, map_of(made.truth, tmp_path / "b.mrc"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"class_": 9}, "no particle that --subset -1 and --class 9 leave"),
        ({"halves": True, "subset": 1}, "--halves --subset 1: found both"),
        ({"sym": "X3"}, "X3"),
        ({"i": Path("nothing.star")}, "no such file"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_written(made, tmp_path, changes, words):
    options = ReconstructOptions(**({"i": made.truth, "o": tmp_path / "map.mrc"} | changes))
    with pytest.raises(InputError, match=words):
        make_start(options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("column", "changes", "flag"),
    [
        ("rlnRandomSubset", {"subset": 1}, "--subset 1"),
        ("rlnRandomSubset", {"halves": True}, "--halves"),
        ("rlnClassNumber", {"class_": 2}, "--class 2"),
    ],
)
def test_a_missing_column_is_named(made, tmp_path, column, changes, flag):
    blocks = read_star(made.truth)
    write_star(
        tmp_path / "without.star", {**blocks, "particles": blocks["particles"].drop(column)}
    )
    options = ReconstructOptions(i=tmp_path / "without.star", **changes)
    with pytest.raises(InputError, match=f"found no column {column}.*{flag}"):
        make_start(options)


def test_an_output_that_cannot_be_made_ends_the_job_with_status_1(made, tmp_path, capfd):
    (tmp_path / "file").write_text("")
    words = ["reconstruct", "--i", str(made.truth), "--o", str(tmp_path / "file" / "map.mrc")]
    try:
        status = command_line.main(words)
    except AgreedStop as stop:
        status = stop.code
    assert status == 1
    assert "is a file; choose another name" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["ewald", "fsc", "3d_rot", "helical_rise"])
def test_options_that_are_not_taken_are_refused_with_their_reason(name):
    with pytest.raises(InputError, match=REASONS[name].split(";", maxsplit=1)[0]):
        refused(["--i", "a.star", f"--{name}", "1"])


def test_words_without_such_options_are_let_pass():
    words = ["--i", "a.star", "--o", "ewald", "--ctf"]
    assert refused(words) == words


def test_no_option_is_both_taken_and_refused():
    assert not {field.name for field in dataclasses.fields(ReconstructOptions)} & set(REASONS)
