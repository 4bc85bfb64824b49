"""Pixels and tables of relion_preprocess."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from factories.micrographs import micrograph_project, refined_star

from relion_mpi.cli import main as command_line
from relion_mpi.io.mrc import read_map, write_map
from relion_mpi.io.star import read_star

PRINTED = 6e-6
"""relion_preprocess prints six decimals, five of negative numbers."""
BACKGROUND = 1e-4
"""Deviations of the background; single precision is far better."""
PICKED = ("--coord_dir", "Picks/", "--coord_suffix", "_pick.star")
AGAIN = ("--reextract_data_star", "refined_data.star")
NORM = ("--norm", "--bg_radius", 12)

pytestmark = [
    pytest.mark.relion,
    pytest.mark.skipif(
        shutil.which("relion_preprocess") is None, reason="RELION is not installed"
    ),
]


@pytest.fixture
def both(relion, tmp_path, monkeypatch):
    """Extract with both programs; (tables, images by stack) of each are returned."""
    monkeypatch.chdir(tmp_path)
    micrograph_project()

    def run(*words, where=PICKED):
        line = ["--i", "micrographs.star", "--extract", "--extract_size", "32", *where, *words]
        found = []
        for side in ("theirs", "ours"):
            out = ["--part_dir", f"{side}/", "--part_star", f"{side}/particles.star"]
            if side == "theirs":
                relion("relion_preprocess", *line, *out)
            else:
                assert command_line.main(["extract", *map(str, line), *out]) == 0
            paths = sorted(Path(side).glob("Mics/*.mrcs"))
            images = {path.name: read_map(path) for path in paths}
            found.append((read_star(f"{side}/particles.star"), images))
        return found

    return run


def same_tables(theirs, ours):
    for name in ("optics", "particles"):
        assert theirs[name].columns == ours[name].columns
        for label in theirs[name].columns:
            pair = ours[name][label], theirs[name][label]
            if pair[1].dtype == pl.String:
                assert pair[0].to_list() == [text.replace("theirs", "ours") for text in pair[1]]
            else:
                values = [one.cast(pl.Float64).to_numpy() for one in pair]
                np.testing.assert_allclose(*values, rtol=1e-6, atol=PRINTED, err_msg=label)


def same_images(theirs, ours, unit=3.0):
    assert list(theirs) == list(ours) == ["mic0.mrcs", "mic1.mrcs"]
    for name, (images, pixel_size) in theirs.items():
        np.testing.assert_allclose(ours[name][0], images, atol=BACKGROUND * unit)
        assert ours[name][1] == pytest.approx(pixel_size, rel=1e-6)


def same(found, unit=3.0):
    (their_tables, their_images), (our_tables, our_images) = found
    same_tables(their_tables, our_tables)
    same_images(their_images, our_images, unit)


@pytest.mark.parametrize(
    "words",
    [
        (), ("--invert_contrast",), ("--scale", 24), ("--scale", 23), ("--scale", 40),
        ("--window", 20), ("--window", 48), ("--extract_bias_x", 2, "--extract_bias_y", -3),
    ],
    ids=str,
)  # fmt: skip
def test_windows_agree(both, words):
    same(both(*words))


@pytest.mark.parametrize(
    "words",
    [
        NORM, (*NORM, "--no_ramp"), (*NORM, "--invert_contrast"), (*NORM, "--window", 40),
        ("--scale", 24, "--norm", "--bg_radius", 9.7, "--invert_contrast"),
    ],
    ids=str,
)  # fmt: skip
def test_normalised_images_agree(both, words):
    same(both(*words), unit=1.0)


def test_pixels_beside_dust_agree(both):
    image = read_map("Mics/mic0.mrc")[0][0]
    image[61, 78], image[55, 73] = 100, -80
    write_map("Mics/mic0.mrc", image, 1.5)
    (_, theirs), (_, ours) = both(*NORM, "--white_dust", 6, "--black_dust", 6)
    (_, _), (_, plain) = both(*NORM)
    dust = ours["mic0.mrcs"][0] != plain["mic0.mrcs"][0]
    # In the first window; both within the circle, so that the background stays what it is.
    assert np.argwhere(dust[0]).tolist() == [[11, 14], [17, 19]]
    pair = (images["mic0.mrcs"][0][0][~dust[0]] for images in (ours, theirs))
    np.testing.assert_allclose(*pair, atol=BACKGROUND)
    assert (np.abs(theirs["mic0.mrcs"][0][0][dust[0]]) < 6).all()


@pytest.mark.parametrize(
    "words",
    [
        (), ("--recenter",), ("--reset_offsets",), ("--keep_ctfs_micrographs",),
        ("--recenter", "--recenter_x", 5, "--recenter_y", -3, "--recenter_z", 8),
        ("--recenter", "--recenter_x", 5, "--recenter_z", 8, "--ref_angpix", 1.1),
        ("--recenter", "--scale", 24, "--norm", "--bg_radius", 9, "--invert_contrast"),
    ],
    ids=str,
)  # fmt: skip
def test_particles_of_a_refinement_are_extracted_alike(both, relion, words):
    relion(
        "relion_preprocess", "--i", "micrographs.star", "--extract", "--extract_size", 48,
        "--scale", 32, *PICKED, "--part_dir", "first/", "--part_star", "first/particles.star",
    )  # fmt: skip
    refined_star("first/particles.star")
    same(both(*words, where=AGAIN))


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        (".box", "60 50 30 20 -3\n20\t30\t31\t33\n"), (".txt", "x y\n75 60\n30 40\n"),
        (".coords", "\n75 60\n"),
    ],
)  # fmt: skip
def test_other_coordinate_files_are_read_alike(both, suffix, text):
    for k in range(2):
        Path(f"Picks/Mics/mic{k}{suffix}").write_text(text)
    same(both(where=("--coord_dir", "Picks/", "--coord_suffix", suffix)))


def test_either_goes_on_where_the_other_ended(both, relion):
    same(both(*NORM))
    Path("theirs/Mics/mic1_extract.star").unlink()
    line = ["--i", "micrographs.star", "--extract", "--extract_size", "32", *PICKED, *NORM]
    line += ["--only_do_unfinished", "--part_dir", "theirs/", "--part_star", "theirs/again.star"]
    before = Path("theirs/Mics/mic0.mrcs").stat().st_mtime_ns
    assert command_line.main(["extract", *map(str, line)]) == 0
    assert Path("theirs/Mics/mic0.mrcs").stat().st_mtime_ns == before
    theirs, ours = (read_star(f"theirs/{name}.star") for name in ("particles", "again"))
    same_tables(theirs, {**ours, "particles": _named(ours["particles"])})
    Path("theirs/Mics/mic1_extract.star").unlink()
    relion("relion_preprocess", *line)
    same_tables(read_star("theirs/again.star"), {**ours, "particles": _named(ours["particles"])})


def _named(table):
    return table.with_columns(pl.col(pl.String).str.replace("theirs", "ours"))
