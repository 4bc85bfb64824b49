"""Coordinate files of RELION, EMAN and others."""

from __future__ import annotations

from pathlib import Path

import pytest

from relion_mpi.core.errors import InputError
from relion_mpi.extract.coordinates import coordinate_files, read_coordinates
from relion_mpi.extract.names import stack_of
from relion_mpi.extract.options import ExtractOptions

STAR = "\ndata_{name}\n\nloop_\n_rlnCoordinateX #1\n_rlnAnglePsi #2\n_rlnCoordinateY #3\n7.5 1 9\n"


def read(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    table = read_coordinates(tmp_path / name)
    return list(zip(table.frame["rlnCoordinateX"], table.frame["rlnCoordinateY"], strict=True))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.star", STAR.format(name=""), [(7.5, 9)]),
        ("a.star", "# version 30001\n" + STAR.format(name="particles"), [(7.5, 9)]),
        ("a.star", "data_optics\n_rlnVoltage 300\n" + STAR.format(name="picks"), [(7.5, 9)]),
        ("a.star", "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n", []),
        ("a.box", "80 90 40 40 -3\n\n80\t90\t41\t43\n", [(100, 110), (100, 111)]),
        ("a.box", "-80 -90 201 243\n", [(20, 31)]),
        ("a.txt", "x y\n100 110\n 30.5, 40.25 \n", [(100, 110), (30.5, 40.25)]),
        ("a.coords", "# x y\n\n100 110 0.5 name\n%30 40\n", [(100, 110)]),
    ],
)
def test_coordinates_are_read(tmp_path, name, text, expected):
    assert read(tmp_path, name, text) == expected


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.txt", "10 20\nmore words\n", "line 2: found 'more words'"),
        ("a.txt", "10 nan\n", "line 1: found '10 nan'"),
        ("a.box", "10 20\n", "line 1: found '10 20', expected 4 numbers"),
        ("a.star", "data_\nloop_\n_rlnAnglePsi\n5\n", "found no table with rlnCoordinateX"),
        ("a.star", STAR.format(name="").replace("7.5", "inf"), "row 1: rlnCoordinateX is inf"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path, name, text, found):
    with pytest.raises(InputError, match=found):
        read(tmp_path, name, text)


def test_files_lie_beside_the_micrographs_or_in_a_folder_without_the_job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("MotionCorr/job002/Mov", "AutoPick/job005/Mov"):
        Path(folder).mkdir(parents=True)
    Path("AutoPick/job005/Mov/a.b_autopick.star").touch()
    Path("MotionCorr/job002/Mov/a.b.box").touch()
    names = ["MotionCorr/job002/Mov/a.b.mrc", "MotionCorr/job002/Mov/c.mrc"]
    picked = ExtractOptions(coord_dir="AutoPick/job005/", coord_suffix="_autopick.star")
    assert coordinate_files(picked, names) == [Path("AutoPick/job005/Mov/a.b_autopick.star"), None]
    beside = ExtractOptions(coord_suffix=".box")
    assert coordinate_files(beside, names) == [Path("MotionCorr/job002/Mov/a.b.box"), None]


def test_a_list_names_the_files_of_micrographs(tmp_path):
    listed = tmp_path / "autopick.star"
    listed.write_text(
        "data_coordinate_files\nloop_\n_rlnMicrographName\n_rlnMicrographCoordinates\n"
        "Mov/b.mrc picks/b.star\nMov/a.mrc picks/other.star\n"
    )
    found = coordinate_files(ExtractOptions(coord_list=listed), ["Mov/a.mrc", "Mov/c.mrc"])
    assert found == [Path("picks/other.star"), None]


def test_one_must_say_where_coordinates_are():
    with pytest.raises(InputError, match="say where the particles are"):
        coordinate_files(ExtractOptions(), ["a.mrc"])


@pytest.mark.parametrize(
    ("name", "stack"),
    [
        ("MotionCorr/job002/Mov/a.mrc", "Extract/job009/Mov/a.mrcs"),
        ("./Mov/a_1.2.mrc", "Extract/job009/Mov/a_1.2.mrcs"),
        ("/data/Mov/a.mrc", "Extract/job009/data/Mov/a.mrcs"),
        ("../Mov/a.mrc", "Extract/job009/Mov/a.mrcs"),
    ],
)
def test_stacks_lie_below_the_folder_of_the_job(name, stack):
    assert stack_of(Path("Extract/job009/"), name) == Path(stack)
