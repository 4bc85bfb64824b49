"""Operations on STAR files, where RELION has no such one or does it otherwise."""

from __future__ import annotations

import time

import numpy as np
import polars as pl
import pytest
from factories.particle_stars import write_particle_star
from PIL import Image

from relion_mpi.cli import main as command_line
from relion_mpi.geometry.euler import euler_to_matrix
from relion_mpi.geometry.symmetry import point_group
from relion_mpi.io.star import read_star, write_star

ONE_TWO = [("one", 2.7), ("two", 2.7)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_particle_star(tmp_path / "a.star", ONE_TWO, more=["MadeUp"])
    return tmp_path


def star(*words):
    return command_line.main(["star", *words])


def images(path="out.star", block="particles"):
    return read_star(path)[block]["rlnImageName"].to_list()


def test_groups_of_one_name_and_other_values_stay_apart(folder, capsys):
    write_particle_star(folder / "b.star", [("two", 1.4), ("two_2", 2.0)], 20)
    assert star("--combine", "--i", "a.star", "b.star", "a.star") == 0
    blocks = read_star("out.star")
    assert blocks["optics"]["rlnOpticsGroup"].to_list() == [1, 2, 3, 4]
    assert blocks["optics"]["rlnOpticsGroupName"].to_list() == ["one", "two", "two_2", "two_2_2"]
    assert blocks["optics"]["rlnSphericalAberration"].to_list() == [2.7, 2.7, 1.4, 2.0]
    group = blocks["particles"]["rlnOpticsGroup"]
    assert set(group[30:50]) == {3, 4}
    assert group[50:].to_list() == group[:30].to_list()
    assert "optics group 'two' has other values" in capsys.readouterr().err


def test_group_names_stay_distinct_when_a_new_one_takes_a_made_up_one(folder):
    write_particle_star(folder / "b.star", [("two", 1.4)], 20)
    write_particle_star(folder / "c.star", [("two_2", 1.4)], 20)
    assert star("--combine", "--i", "a.star", "b.star", "c.star") == 0
    names = read_star("out.star")["optics"]["rlnOpticsGroupName"].to_list()
    assert len(set(names)) == len(names) == 4


def test_columns_that_not_all_files_have_are_named(folder, capsys):
    write_particle_star(folder / "b.star", ONE_TWO, 20)
    assert star("--combine", "--i", "a.star b.star") == 0
    assert "rlnMadeUp" not in read_star("out.star")["particles"].columns
    assert "left out column(s) rlnMadeUp" in capsys.readouterr().err


def test_repeated_names_are_told(folder, capsys):
    line = ("--combine", "--i", "a.star a.star", "--check_duplicates", "rlnImageName")
    assert star(*line) == 0
    assert len(images()) == 60
    assert "30 rows repeat a value of rlnImageName" in capsys.readouterr().err
    assert star("--i", "out.star", "--o", "once.star", "--unique", "rlnImageName") == 0
    assert images("once.star") == images("a.star") == images("once_removed.star")


@pytest.mark.parametrize("seed", ["5", "6"])
def test_a_random_split_has_each_row_once_and_is_repeatable(folder, seed):
    line = ("--i", "a.star", "--split", "--nr_split", "3", "--random_order", "--random_seed", seed)
    for name in ("x.star", "y.star"):
        assert star(*line, "--o", name) == 0
    parts = [images(f"x_split{k}.star") for k in (1, 2, 3)]
    assert parts == [images(f"y_split{k}.star") for k in (1, 2, 3)]
    assert [len(part) for part in parts] == [10, 10, 10]
    whole = [name for part in parts for name in part]
    assert sorted(whole) == images("a.star") != whole


@pytest.mark.parametrize(
    "words",
    [
        ("--select", "rlnDefocusU", "--minval", "0"),
        ("--operate", "rlnDefocusU", "--add_to", "1"),
        ("--symmetry_expand", "--sym", "C2"),
        ("--center", "--center_X", "1"),
        ("--unique", "rlnImageName"),
    ],
)
def test_every_column_is_kept(folder, words):
    before = read_star("a.star")["particles"]
    assert star("--i", "a.star", *words) == 0
    after = read_star("out.star")["particles"]
    assert after.columns == before.columns
    assert set(after["rlnMadeUp"]) == set(before["rlnMadeUp"])


def test_expanded_poses_are_symmetry_mates(folder):
    assert star("--i", "a.star", "--symmetry_expand", "--sym", "D3") == 0
    labels = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]
    first, mates = (
        euler_to_matrix(*read_star(name)["particles"].select(labels).to_numpy().T)
        for name in ("a.star", "out.star")
    )
    relative = np.swapaxes(np.repeat(first, 6, axis=0), 1, 2) @ mates
    group = point_group("D3").operators
    nearest = np.abs(relative[:, None] - group).max(axis=(2, 3))
    assert nearest.min(axis=1).max() < 1e-9
    # Each operator once a particle.
    assert (np.sort(nearest.argmin(axis=1).reshape(-1, 6)) == np.arange(6)).all()


def test_statistics_come_with_a_picture(folder, capsys):
    line = ("--i", "a.star", "--hist_column", "rlnDefocusU", "--hist_bins", "4", "--o", "h.star")
    assert star(*line) == 0
    with Image.open("h.png") as picture:
        assert picture.width > 300
        assert len(picture.convert("L").getcolors()) > 1
    rows = [line for line in capsys.readouterr().out.splitlines() if " to " in line]
    values = read_star("a.star")["particles"]["rlnDefocusU"].to_numpy()
    counts, _ = np.histogram(values, 4)
    assert [int(row.split()[-1]) for row in rows] == counts.tolist()


def test_percent_and_cumulative_sums_end_at_100(folder, capsys):
    line = ("--i", "a.star", "--hist_column", "_rlnDefocusU", "--in_percent", "--show_cumulative")
    assert star(*line) == 0
    assert [row for row in capsys.readouterr().out.splitlines() if " to " in row][-1].endswith(
        ": 100 %"
    )


def test_other_tables_are_worked_on_too(folder):
    mics = pl.DataFrame({"rlnMicrographName": ["a", "b"], "rlnCtfMaxResolution": [3.0, 9.0]})
    write_star("m.star", {"micrographs": mics})
    line = ("--i", "m.star", "--select", "rlnCtfMaxResolution", "--maxval", "5")
    assert star(*line) == 0
    assert read_star("out.star")["micrographs"]["rlnMicrographName"].to_list() == ["a"]


def test_optics_may_be_ignored(folder):
    old = pl.DataFrame({"rlnImageName": ["1@a.mrcs", "2@a.mrcs"], "rlnDefocusU": [1.0, 2.0]})
    write_star("old.star", {"": old})
    line = ("--i", "old.star", "--select", "rlnDefocusU", "--minval", "1.5", "--ignore_optics")
    assert star(*line) == 0
    assert images(block="") == ["2@a.mrcs"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "found no operation, expected one of --combine"),
        (("--select", "rlnDefocusU", "--center"), "found --select and --center, expected one"),
        (("--select", "rlnDefocusX"), "--select rlnDefocusX: found no such column in a.star"),
        (("--select", "rlnImageName"), "row 1: rlnImageName is '000001@a.mrcs', expected a number"),
        (("--select", "rlnDefocusU", "--minval", "1e9"), "found none of 30 rows to keep"),
        (("--split",), "found neither --nr_split nor --size_split"),
        (("--split", "--nr_split", "50"), "found 30 rows, which fill"),
        (("--select_by_str", "rlnImageName"), "found neither of --select_include and"),
        (("--add_column", "rlnX"), "found neither of --add_column_value and"),
        (("--symmetry_expand", "--sym", "X9"), "symmetry 'X9' is not a point group"),
        (("--unique", "rlnImageName", "--o", "a.star"), "found the file that is read"),
        (("--unique", "rlnImageName", "--i_tablename", "mics"), "expected data_mics"),
    ],
)
def test_mistakes_are_told(folder, capsys, words, message):
    assert star("--i", "a.star", *words) == 1
    assert message in capsys.readouterr().err
    assert not (folder / "out.star").exists()


def test_an_unknown_optics_group_is_named(folder, capsys):
    blocks = read_star("a.star")
    rows = blocks["particles"].with_columns(
        pl.when(pl.int_range(pl.len()) == 4).then(9).otherwise(1).alias("rlnOpticsGroup")
    )
    write_star("b.star", {**blocks, "particles": rows})
    assert star("--combine", "--i", "a.star b.star") == 1
    assert "row 5: rlnOpticsGroup is 9, expected a number of data_optics" in capsys.readouterr().err


def test_hundred_thousand_rows_take_seconds(folder):
    """Nothing is done row by row; a bound so wide says only that."""
    write_particle_star(folder / "big.star", ONE_TWO, 1000, n_micrographs=50)
    blocks = read_star("big.star")
    rows = pl.concat([blocks["particles"]] * 100)
    write_star("big.star", {**blocks, "particles": rows})
    start = time.monotonic()
    for words in (
        ("--combine", "--i", "big.star", "a.star"),
        ("--i", "big.star", "--unique", "rlnImageName"),
        ("--i", "big.star", "--symmetry_expand", "--sym", "D2"),
    ):
        assert star(*words) == 0
    assert time.monotonic() - start < 30
