import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from relion_mpi.cli import compare as command
from relion_mpi.compare.inputs import find_side
from relion_mpi.compare.options import CompareOptions
from relion_mpi.compare.program import compare
from relion_mpi.compare.report import as_text
from relion_mpi.compare.tables import read_pose_table
from relion_mpi.core.errors import InputError
from relion_mpi.io.mrc import write_map
from relion_mpi.io.star import read_star, write_star
from relion_mpi.simulate.options import SimulateOptions
from relion_mpi.simulate.particle_set import simulate


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A truth, and a run that found it with an error of 3 degrees in psi and half maps."""
    folder = tmp_path_factory.mktemp("runs")
    made = simulate(SimulateOptions(o=folder / "sim", n=60, box=32, angpix=7.0))
    blocks = read_star(made.truth)
    found = blocks["particles"].with_columns(
        pl.col("rlnAnglePsi") + pl.Series(np.tile([-3.0, 3.0], 30)),
        rlnMaxValueProbDistribution=pl.Series(np.full(60, 0.75)),
        rlnNormCorrection=pl.Series(np.full(60, 0.9)),
        rlnNrOfSignificantSamples=pl.Series(np.full(60, 12)),
    )
    for iteration in (3, 12):
        write_star(folder / f"run_it{iteration:03d}_data.star", {**blocks, "particles": found})
    volume = folder / "sim" / "truth_class001.mrc"
    for half in (1, 2):
        (folder / f"run_it012_half{half}_class001.mrc").write_bytes(volume.read_bytes())
    return folder


def test_a_run_root_stands_for_its_last_iteration(runs):
    side = find_side(runs / "run")
    assert side.table == runs / "run_it012_data.star"
    halves = tuple(runs / f"run_it012_half{half}_class001.mrc" for half in (1, 2))
    assert side.maps == (halves,)
    assert find_side(runs / "run_it003").table == runs / "run_it003_data.star"


def test_a_truth_table_brings_its_maps(runs):
    assert find_side(runs / "sim").maps == ((runs / "sim" / "truth_class001.mrc",),)


def test_a_run_is_compared_with_the_truth(runs):
    result = compare(CompareOptions(a=runs / "run", b=runs / "sim" / "truth.star"))
    assert result.poses is not None
    assert result.poses.median_angle_deg == pytest.approx(3.0, abs=0.6)
    assert result.poses.within[2] == 1.0
    ((k, k_b, maps),) = result.maps
    assert (k, k_b) == (1, 1)
    assert maps.fsc_area > 0.999


def test_the_report_is_printed_and_written(runs, tmp_path, caplog):
    caplog.set_level("INFO")
    options = CompareOptions(a=runs / "run", b=runs / "sim", o=tmp_path / "out")
    assert command.run(options) == 0
    assert "median angular error" in caplog.text
    assert "hand same" in caplog.text
    numbers = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert numbers["poses"]["within_5_deg"] == 1.0
    assert numbers["poses"]["mean_max_value_prob_a"] == pytest.approx(0.75)
    assert numbers["maps"][0]["resolution_after_angst"]["0.143"] == pytest.approx(14.0)
    star = read_star(tmp_path / "out" / "compare.star")
    assert star["compare_fsc_class_1"].height == 17
    assert (tmp_path / "out" / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_classes_are_tabled_with_their_partners_marked(runs, tmp_path):
    blocks = read_star(runs / "run_it012_data.star")
    classes = np.tile([1, 2], 30)
    swapped = blocks["particles"].with_columns(rlnClassNumber=pl.Series(3 - classes))
    named = blocks["particles"].with_columns(rlnClassNumber=pl.Series(classes))
    for name, table in (("a", swapped), ("b", named)):
        write_star(tmp_path / f"{name}.star", {**blocks, "particles": table})
    text = as_text(compare(CompareOptions(a=tmp_path / "a.star", b=tmp_path / "b.star")))
    assert "in matched classes          100.0%" in text
    assert "30*" in text


def test_maps_of_different_pixel_size_are_brought_together(runs, tmp_path):
    fine = simulate(SimulateOptions(o=tmp_path, n=4, box=64, angpix=4.0))
    options = CompareOptions(a=runs / "sim" / "truth_class001.mrc", b=fine.maps[0])
    ((_, _, maps),) = compare(options).maps
    assert maps.box_size == 32
    assert maps.fsc_after[1:14].min() > 0.99


def test_origins_in_pixels_become_angstrom(tmp_path):
    table = pl.DataFrame(
        {
            "rlnImageName": ["1@a.mrcs"], "rlnAngleRot": [0.0], "rlnAngleTilt": [0.0],
            "rlnAnglePsi": [0.0], "rlnOriginX": [2.0], "rlnOriginY": [-1.0],
            "rlnDetectorPixelSize": [5.0], "rlnMagnification": [25000.0],
        }
    )  # fmt: skip
    write_star(tmp_path / "old.star", {"": table})
    np.testing.assert_allclose(read_pose_table(tmp_path / "old.star").origin_angst, [[4.0, -2.0]])


def test_a_name_that_stands_for_nothing_says_what_was_looked_for(tmp_path):
    with pytest.raises(InputError, match=r"nothing_data\.star"):
        find_side(tmp_path / "nothing")


def test_particles_without_angles_are_refused(runs):
    with pytest.raises(InputError, match=r"particles\.star.*rlnAngleRot"):
        compare(CompareOptions(a=runs / "run", b=runs / "sim" / "particles.star"))


def test_a_map_and_a_table_have_nothing_to_compare(runs):
    options = CompareOptions(a=runs / "sim" / "reference.mrc", b=runs / "run_it003_data.star")
    with pytest.raises(InputError, match="only a map"):
        compare(options)


def test_a_map_without_pixel_size_asks_for_one(runs, tmp_path):
    write_map(tmp_path / "bare.mrc", np.random.default_rng(0).normal(size=(32,) * 3), 0.0)
    options = CompareOptions(a=tmp_path / "bare.mrc", b=tmp_path / "bare.mrc")
    with pytest.raises(InputError, match="give --angpix"):
        compare(options)
    assert compare(replace(options, angpix=2.0)).maps[0][2].pixel_size_angst == 2.0


def test_two_leading_words_are_the_two_sides():
    assert command.spelt(["x", "y", "--sym", "D2"]) == ["--a", "x", "--b", "y", "--sym", "D2"]
    assert command.spelt(["--a", "x", "--b", "y"]) == ["--a", "x", "--b", "y"]
