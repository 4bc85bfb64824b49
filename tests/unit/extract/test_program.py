"""Extractions of two small micrographs in one process."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from factories.micrographs import NX, NY, PIXEL, XY, micrograph_project, refined_star

from relion_mpi.cli import main as command_line
from relion_mpi.core.errors import InputError
from relion_mpi.dataset.particles import read_particles
from relion_mpi.extract import operations
from relion_mpi.extract.checks import check_options
from relion_mpi.extract.options import ExtractOptions
from relion_mpi.extract.plan import make_plan
from relion_mpi.geometry.euler import euler_to_matrix
from relion_mpi.io.mrc import read_header, read_map, write_map
from relion_mpi.io.star import read_star, write_star

WORDS = ["extract", "--extract", "--i", "micrographs.star", "--j", "1"]
PICKED = ["--coord_dir", "Picks", "--coord_suffix", "_pick.star", "--extract_size", "16"]


@pytest.fixture
def micrographs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return micrograph_project()


def extracted(*words, out="Extract", picked=PICKED):
    """Run the command; table and images by stack are returned."""
    files = ["--part_dir", f"{out}/", "--part_star", f"{out}/particles.star"]
    assert command_line.main([*WORDS, *picked, *files, *map(str, words)]) == 0
    stacks = {p.stem: read_map(p)[0] for p in sorted(Path(out).glob("Mics/*.mrcs"))}
    return read_star(f"{out}/particles.star"), stacks


def options(**changes):
    values = {
        "i": Path("micrographs.star"), "extract": True, "extract_size": 16, "coord_dir": "Picks",
        "coord_suffix": "_pick.star", "part_dir": Path("Extract"),
        "part_star": Path("Extract/particles.star"),
    }  # fmt: skip
    return ExtractOptions(**(values | changes))


def test_windows_are_pixels_of_the_micrographs(micrographs):
    _, stacks = extracted()
    for name, image in micrographs.items():
        windows = stacks[Path(name).stem]
        np.testing.assert_array_equal(windows[0], image[52:68, 67:83])
        np.testing.assert_array_equal(windows[1], image[22:38, 12:28])


def test_a_point_ends_at_the_centre_pixel_of_a_rescaled_image(micrographs):
    spot = np.zeros((NY, NX), np.float32)
    spot[60, 75] = 100
    write_map("Mics/mic0.mrc", spot, PIXEL)
    _, stacks = extracted("--extract_size", 32, "--scale", 24, "--window", 20)
    assert np.unravel_index(stacks["mic0"][0].argmax(), (20, 20)) == (10, 10)


def test_grey_values_far_from_0_keep_their_digits(micrographs):
    for name, image in micrographs.items():
        write_map(name, image + np.float32(8192), PIXEL)
    _, high = extracted("--scale", 12, "--norm", "--bg_radius", 4, out="High")
    for name, image in micrographs.items():
        write_map(name, (image + np.float32(8192)) - np.float32(8192), PIXEL)
    _, low = extracted("--scale", 12, "--norm", "--bg_radius", 4, out="Low")
    for name in low:
        np.testing.assert_allclose(high[name], low[name], atol=1e-4)


def test_inversion_changes_the_sign_of_everything(micrographs):
    _, plain = extracted("--norm", "--bg_radius", 6)
    _, inverted = extracted("--norm", "--bg_radius", 6, "--invert_contrast", out="Inverted")
    np.testing.assert_array_equal(inverted["mic0"], -plain["mic0"])


def test_half_precision_is_rounded_single_precision(micrographs):
    _, single = extracted("--norm", "--bg_radius", 6)
    _, half = extracted("--norm", "--bg_radius", 6, "--float16", out="Half")
    assert read_header("Half/Mics/mic0.mrcs").mode == 12
    np.testing.assert_array_equal(half["mic0"], single["mic0"].astype(np.float16))


def test_half_precision_refuses_what_it_cannot_hold(micrographs, capsys):
    write_map("Mics/mic0.mrc", np.full((NY, NX), 1e5), PIXEL)
    words = [*WORDS, *PICKED, "--part_dir", "E", "--part_star", "E/p.star", "--float16"]
    assert command_line.main(words) == 1
    assert "found a grey value of 100000" in capsys.readouterr().err
    assert list(Path("E").rglob("mic0*")) == []
    assert not Path("E/p.star").exists()


def test_particles_inherit_from_their_micrographs(micrographs):
    blocks, _ = extracted("--extract_size", 32, "--scale", 24)
    table = blocks["particles"]
    n = len(XY)
    assert table["rlnMicrographName"].to_list() == ["Mics/mic0.mrc"] * n + ["Mics/mic1.mrc"] * n
    assert table["rlnImageName"][n] == "000001@Extract/Mics/mic1.mrcs"
    assert table["rlnDefocusU"].to_list() == [12000.5] * n + [12100.5] * n
    assert table["rlnOpticsGroup"].to_list() == [1] * n + [2] * n
    np.testing.assert_allclose(table["rlnAutopickFigureOfMerit"][n], 2)
    np.testing.assert_allclose(blocks["optics"]["rlnImagePixelSize"], PIXEL * 32 / 24)
    assert blocks["optics"]["rlnImageSize"].to_list() == [24, 24]
    assert read_header("Extract/Mics/mic0.mrcs").pixel_size_angst == pytest.approx(2.0)


def test_the_table_is_read_by_a_refinement(micrographs):
    extracted("--norm", "--bg_radius", 6)
    particles = read_particles(Path("Extract/particles.star"), Path())
    assert particles.n_particles == 2 * len(XY)
    assert particles.optics.box_size.tolist() == [16, 16]


def test_the_list_of_picks_leads_to_the_same_particles(micrographs):
    first, _ = extracted("--pick_star", "Extract/extractpick.star")
    again = ["--coord_list", "Extract/extractpick.star", "--extract_size", "16"]
    second, _ = extracted(out="Again", picked=again)
    kept = pl.all().exclude("rlnImageName")
    assert first["particles"].select(kept).equals(second["particles"].select(kept))


def test_picks_of_low_merit_are_left_out(micrographs):
    every = extracted()[0]["particles"]
    good = extracted("--minimum_pick_fom", 0.5, out="Good")[0]["particles"]
    expected = every.filter(pl.col("rlnAutopickFigureOfMerit") >= 0.5)
    assert 0 < good.height < every.height
    assert good.select("rlnCoordinateX", "rlnMicrographName").equals(
        expected.select("rlnCoordinateX", "rlnMicrographName")
    )
    assert good["rlnImageName"][1].startswith("000002@")
    with pytest.raises(InputError, match="found no pick with so high a"):
        make_plan(options(minimum_pick_fom=99.0))


def test_a_pixel_size_can_be_given(micrographs):
    blocks, _ = extracted("--set_angpix", 2.5)
    assert blocks["optics"]["rlnImagePixelSize"].to_list() == [2.5, 2.5]


def test_micrographs_of_relion_3_0_are_read(micrographs):
    rows = read_star("micrographs.star")["micrographs"].drop("rlnOpticsGroup")
    old = {"rlnVoltage": 300.0, "rlnSphericalAberration": 2.7, "rlnAmplitudeContrast": 0.1,
           "rlnDetectorPixelSize": 5.0, "rlnMagnification": 25000.0}  # fmt: skip
    rows = rows.with_columns(pl.lit(value).alias(label) for label, value in old.items())
    write_star("micrographs.star", {"": rows})
    optics = extracted()[0]["optics"]
    assert optics["rlnImagePixelSize"].to_list() == [2.0]
    assert optics["rlnMicrographOriginalPixelSize"].to_list() == [2.0]


def test_a_recentred_particle_is_seen_where_its_point_was(micrographs):
    extracted()
    moved = {"rlnOriginXAngst": pl.lit(0.0), "rlnOriginYAngst": pl.lit(0.0)}
    before = refined_star("Extract/particles.star", **moved)
    again = ["--reextract_data_star", "refined_data.star", "--extract_size", "32"]
    point = np.array([3, -2, 4])
    where = ["--recenter_x", point[0], "--recenter_y", point[1], "--recenter_z", point[2]]
    after = extracted("--recenter", *where, out="Again", picked=again)[0]["particles"]
    before = before.sort("rlnMicrographName", maintain_order=True)
    angles = (before[f"rlnAngle{name}"].to_numpy() for name in ("Rot", "Tilt", "Psi"))
    seen = (euler_to_matrix(*angles) @ point)[:, :2]
    for k, axis in enumerate("XY"):
        # The new window's centre less the origin that remains is the place of the point.
        place = after[f"rlnCoordinate{axis}"] - after[f"rlnOrigin{axis}Angst"] / PIXEL
        np.testing.assert_allclose(place - before[f"rlnCoordinate{axis}"], seen[:, k], atol=1e-6)
        rest = after[f"rlnOrigin{axis}Angst"].to_numpy()
        assert np.abs(rest).max() <= PIXEL / 2 + 1e-9
        moved = (after[f"rlnCoordinate{axis}"] - before[f"rlnCoordinate{axis}"]).to_numpy()
        np.testing.assert_allclose(moved, np.round(moved), atol=1e-9)


def test_particles_keep_the_ctf_of_their_refinement_unless_told_otherwise(micrographs):
    extracted()
    refined = refined_star("Extract/particles.star")
    again = ["--reextract_data_star", "refined_data.star", "--extract_size", "16"]
    kept = extracted(out="Kept", picked=again)[0]["particles"]["rlnDefocusU"]
    assert sorted(kept) == sorted(refined["rlnDefocusU"])
    theirs = extracted("--keep_ctfs_micrographs", out="New", picked=again)[0]["particles"]
    assert theirs["rlnDefocusU"].unique().sort().to_list() == [12000.5, 12100.5]


def times(folder):
    return {path: path.stat().st_mtime_ns for path in Path(folder).rglob("*.mrcs")}


def test_only_what_is_missing_is_done_again(micrographs):
    whole, stacks = extracted()
    kept = times("Extract")[Path("Extract/Mics/mic1.mrcs")]
    Path("Extract/Mics/mic0_extract.star").unlink()
    Path("Extract/particles.star").unlink()
    again, found = extracted("--only_do_unfinished")
    assert times("Extract")[Path("Extract/Mics/mic1.mrcs")] == kept
    assert again["particles"].equals(whole["particles"])
    np.testing.assert_array_equal(found["mic0"], stacks["mic0"])


def test_what_a_killed_job_had_not_finished_is_removed(micrographs):
    _, stacks = extracted()
    Path("Extract/Mics/mic0_extract.star").unlink()
    ours, other = Path("Extract/Mics/.mic0.mrcs.77.tmp"), Path("Extract/Mics/.other.mrcs.77.tmp")
    ours.touch()
    other.touch()
    _, found = extracted("--only_do_unfinished")
    assert not ours.exists()
    assert other.exists()
    np.testing.assert_array_equal(found["mic0"], stacks["mic0"])


def test_a_truncated_stack_is_made_again(micrographs):
    _, stacks = extracted()
    path = Path("Extract/Mics/mic0.mrcs")
    path.write_bytes(path.read_bytes()[:-5])
    _, found = extracted("--only_do_unfinished")
    np.testing.assert_array_equal(found["mic0"], stacks["mic0"])


def test_a_stack_with_fewer_images_than_its_table_has_rows_is_made_again(micrographs):
    _, stacks = extracted()
    write_map("Extract/Mics/mic0.mrcs", stacks["mic0"][:2], PIXEL, stack=True)
    _, found = extracted("--only_do_unfinished")
    np.testing.assert_array_equal(found["mic0"], stacks["mic0"])


def test_images_do_not_depend_on_how_many_are_worked_on_together(micrographs, monkeypatch):
    words = ["--scale", 12, "--norm", "--bg_radius", 4, "--white_dust", 2]
    _, together = extracted(*words)
    monkeypatch.setattr(operations, "_CHUNK_BYTES", 1)
    _, one_by_one = extracted(*words, out="Single")
    for name, images in together.items():
        np.testing.assert_allclose(one_by_one[name], images, atol=1e-5)


def test_finished_images_of_another_size_are_refused(micrographs):
    extracted()
    with pytest.raises(InputError, match=r"mic0.mrcs holds images of 16 x 16 pixels, expected 20"):
        make_plan(options(only_do_unfinished=True, extract_size=20))


def test_a_micrograph_without_picks_is_passed_over(micrographs, caplog):
    Path("Picks/Mics/mic0_pick.star").unlink()
    with caplog.at_level(logging.WARNING, "relion_mpi"):
        plan = make_plan(options())
    assert [task.name for task in plan.tasks] == ["Mics/mic1.mrc"]
    assert "1 of 2 micrographs have no coordinate file, the first is Mics/mic0.mrc" in caplog.text


def test_bad_pixels_are_told(micrographs, capfd):
    image = micrographs["Mics/mic0.mrc"].copy()
    image[60, 75], image[90:, 120:] = np.nan, 4
    write_map("Mics/mic0.mrc", image, PIXEL)
    extracted("--norm", "--bg_radius", 4, "--no_ramp")
    told = capfd.readouterr().err
    assert "1 particle(s) have NaN or infinite pixels" in told
    assert "1 particle(s) have a constant background" in told


def spoil(name, text):
    Path(name).write_text(text, encoding="utf-8")


def drop(label, block="optics"):
    blocks = read_star("micrographs.star")
    blocks[block] = blocks[block].drop(label)
    write_star("micrographs.star", blocks)


def outside():
    xy = XY.copy()
    xy[2] = NX + 8, 50
    micrograph_project(xy=xy)


def two_of_one_name():
    blocks = read_star("micrographs.star")
    names = pl.Series("rlnMicrographName", ["A/job001/Mics/mic0.mrc", "Mics/mic0.mrc"])
    blocks["micrographs"] = blocks["micrographs"].with_columns(names)
    write_star("micrographs.star", blocks)


@pytest.mark.parametrize(
    ("spoilt", "changes", "found"),
    [
        (lambda: Path("Mics/mic1.mrc").unlink(), {}, "row 2: Mics/mic1.mrc: .* no such file"),
        (lambda: spoil("Mics/mic1.mrc", "x" * 99), {}, "row 2: Mics/mic1.mrc: found 99 bytes"),
        (lambda: write_map("Mics/mic1.mrc", np.zeros((3, 9, 9)), 1), {}, "holds 3 sections"),
        (outside, {}, r"mic0_pick.star, row 3: the particle at x 158, y 50 lies .* outside"),
        (lambda: drop("rlnMicrographPixelSize"), {}, "no column rlnMicrographPixelSize"),
        (lambda: drop("rlnMicrographName", "micrographs"), {}, "no table with rlnMicrographName"),
        (two_of_one_name, {}, r"particles of A/job001/Mics/mic0.mrc and of Mics/mic0.mrc would"),
        (lambda: None, {"coord_suffix": "_x.star"}, r"not Picks/Mics/mic0_x.star; correct"),
        (lambda: None, {"norm": True}, r"--bg_radius -1: expected 1 to 8 pixels"),
        (lambda: None, {"norm": True, "bg_radius": 9.0}, r"--bg_radius 9: expected 1 to 8"),
        (lambda: None, {"white_dust": 5.0}, "part of --norm"),
        (lambda: None, {"coord_list": Path("micrographs.star")}, "expected data_coordinate_files"),
    ],
)  # fmt: skip
def test_bad_input_is_named_before_the_work(micrographs, spoilt, changes, found):
    spoilt()
    with pytest.raises(InputError, match=found):
        make_plan(options(**changes))


def drop_column(label):
    blocks = read_star("refined_data.star")
    blocks["particles"] = blocks["particles"].drop(label)
    write_star("refined_data.star", blocks)


@pytest.mark.parametrize(
    ("spoilt", "changes", "found"),
    [
        (lambda: drop_column("rlnCoordinateX"), {}, "no column rlnCoordinateX"),
        (lambda: drop_column("rlnOriginXAngst"), {"recenter": True}, "no column rlnOriginXAngst"),
        (
            lambda: drop_column("rlnAnglePsi"), {"recenter": True, "recenter_z": 1.0},
            "no column rlnAnglePsi",
        ),
        (lambda: None, {"part_dir": Path("Extract")}, "mic0.mrcs holds particles of refined_data"),
        (
            lambda: refined_star(
                "Extract/particles.star", rlnMicrographName=pl.lit("none.mrc")
            ), {}, "found particles of none.mrc",
        ),
    ],
)  # fmt: skip
def test_bad_particles_of_a_refinement_are_named(micrographs, spoilt, changes, found):
    extracted()
    refined_star("Extract/particles.star")
    spoilt()
    given = {"reextract_data_star": Path("refined_data.star"), "part_dir": Path("Again")}
    with pytest.raises(InputError, match=found):
        make_plan(options(**(given | changes)))


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"helix": True}, "--helix: helical segments are not extracted here"),
        ({"helical_rise": 4.7}, "--helical_rise: helical"),
        ({"phase_flip": True}, "--phase_flip: images are not multiplied"),
        ({"extract": False}, "neither --extract nor --operate_on"),
        ({"i": None}, "--i is required"),
        ({"extract_size": 15}, "--extract_size 15: expected an even number"),
        ({"recenter": True}, "--recenter without --reextract_data_star"),
        (
            {"recenter": True, "reset_offsets": True, "reextract_data_star": Path("x")},
            "--recenter and --reset_offsets, expected one",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused(changes, found):
    with pytest.raises(InputError, match=found):
        check_options(options(**changes))


def test_a_stack_can_be_operated_on(micrographs):
    extracted()
    _, expected = extracted("--scale", 12, "--norm", "--bg_radius", 4, out="Both")
    words = ["extract", "--operate_on", "Extract/Mics/mic0.mrcs", "--operate_out", "new.mrcs"]
    assert command_line.main([*words, "--scale", "12", "--norm", "--bg_radius", "4"]) == 0
    found, pixel_size = read_map("new.mrcs")
    np.testing.assert_allclose(found, expected["mic0"], atol=1e-6)
    assert pixel_size == pytest.approx(PIXEL * 16 / 12)


def test_the_stack_that_is_read_is_not_replaced(micrographs, capsys):
    extracted()
    stack = "Extract/Mics/mic0.mrcs"
    with pytest.raises(SystemExit):
        command_line.main(["extract", "--operate_on", stack, "--operate_out", stack])
    assert "found the stack that is read" in capsys.readouterr().err
