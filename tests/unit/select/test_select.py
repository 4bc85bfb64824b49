"""A classification of six particles in two stacks: classes 1 2 3 1 2 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from relion_mpi.cli import main as command_line
from relion_mpi.core.errors import InputError
from relion_mpi.io.mrc import read_header, read_map, write_map
from relion_mpi.io.mrc_stack import write_stack
from relion_mpi.io.star import read_star, write_star
from relion_mpi.picking.references import read_references
from relion_mpi.select.classes import numbers_in
from relion_mpi.select.options import SelectOptions
from relion_mpi.select.program import select

CLASSES = [1, 2, 3, 1, 2, 1]
NAMES = ["000002@a.mrcs", "000001@b.mrcs", "000001@a.mrcs", "000003@a.mrcs", "000003@b.mrcs",
         "000002@b.mrcs"]  # fmt: skip
STACKS = {name: np.random.default_rng(k).normal(size=(3, 4, 4)) for k, name in enumerate("ab")}


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    optics = pl.DataFrame({"rlnOpticsGroup": [1, 2], "rlnVoltage": [300.0, 200.0]})
    particles = pl.DataFrame(
        {
            "rlnImageName": NAMES, "rlnOpticsGroup": [1] * 6, "rlnClassNumber": CLASSES,
            "rlnAngleRot": np.arange(6) / 7, "someOtherLabel": list("uvwxyz"),
        }
    )  # fmt: skip
    blocks = {"optics": optics, "particles": particles}
    write_star("run_it025_data.star", blocks)
    classes = pl.DataFrame(
        {
            "rlnReferenceImage": [f"run_it025_class00{k}.mrc" for k in (1, 2, 3)],
            "rlnClassDistribution": [0.5, 0.33, 0.17],
            "rlnEstimatedResolution": [9.0, 30.0, 20.0],
        }
    )
    write_star("run_it025_model.star", {"model_classes": classes})
    general = {
        "rlnModelStarFile": "run_it025_model.star",
        "rlnExperimentalDataStarFile": "run_it025_data.star",
    }
    write_star("run_it025_optimiser.star", {"optimiser_general": general})
    for name, images in STACKS.items():
        write_map(f"{name}.mrcs", images, 1.5, stack=True)
    return blocks


def chosen(*, i="run_it025_data.star", o="chosen.star", **options):
    """Images that are chosen, in order."""
    select(SelectOptions(i=Path(i), o=Path(o), **options))
    return read_star(o)["particles"]["rlnImageName"].to_list()


def of_classes(*numbers):
    return [name for name, k in zip(NAMES, CLASSES, strict=True) if k in numbers]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"classes": "2"}, [2]),
        ({"classes": "1,3"}, [1, 3]),
        ({"classes": "2-3"}, [2, 3]),
        ({"min_share": 0.33}, [1, 2]),
        ({"max_resolution": 20.0}, [1, 3]),
        ({"min_share": 0.2, "max_resolution": 20.0}, [1]),
        ({"classes": "2,3", "max_resolution": 25.0}, [3]),
    ],
)
def test_particles_of_the_wanted_classes_are_kept_in_order(job, options, expected):
    assert chosen(**options) == of_classes(*expected)


def test_all_columns_and_the_optics_table_are_kept(job):
    chosen(classes="1,2")
    found = read_star("chosen.star")
    assert list(found) == ["optics", "particles"]
    assert found["optics"].equals(job["optics"])
    wanted = job["particles"].filter(pl.col("rlnClassNumber") != 3)
    assert found["particles"].equals(wanted)


def test_an_optimiser_names_the_files(job):
    expected = of_classes(1)
    assert chosen(i="run_it025_optimiser.star", min_share=0.4) == expected


def test_files_beside_an_optimiser_are_found_from_another_folder(job, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert chosen(i=tmp_path / "run_it025_optimiser.star", min_share=0.4) == of_classes(1)


def test_a_file_of_relion_3_0_has_one_table(job):
    write_star("old_data.star", {"images": job["particles"]})
    select(SelectOptions(i=Path("old_data.star"), o=Path("chosen.star"), classes="3"))
    assert list(read_star("chosen.star")) == ["images"]


def test_restacked_images_are_those_of_the_particles(job):
    names = chosen(o="new/chosen.star", classes="1,2", restack=True)
    assert names == [f"{k:06d}@new/chosen.mrcs" for k in range(1, 6)]
    expected = [
        STACKS[name[7]][int(name[:6]) - 1].astype(np.float32) for name in of_classes(1, 2)
    ]
    images, pixel_size = read_map("new/chosen.mrcs")
    np.testing.assert_array_equal(images, expected)
    assert pixel_size == pytest.approx(1.5)
    assert read_header("new/chosen.mrcs").mode == 2


def test_half_precision_stays_half_precision(job):
    for name, images in STACKS.items():
        write_stack(f"{name}.mrcs", images, images.shape, np.dtype(np.float16), 1.5)
    chosen(classes="1", restack=True)
    assert read_header("chosen.mrcs").mode == 12
    write_map("b.mrcs", STACKS["b"], 1.5, stack=True)
    chosen(classes="1", restack=True)
    assert read_header("chosen.mrcs").mode == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "none of --classes, --min_share and --max_resolution"),
        ({"classes": "1,x"}, "found 'x'"),
        ({"classes": "0"}, "found '0'"),
        ({"classes": "3-2"}, "found '3-2'"),
        ({"classes": "4"}, "found class 4, expected numbers from 1 to 3"),
        ({"classes": "4", "min_share": 0.1}, "found class 4, expected numbers from 1 to 3"),
        ({"min_share": 0.6}, r"shares are 0.5 0.33 0.17, resolutions 9 30 20 A"),
        ({"classes": "1", "o": "run_it025_data.star"}, "the file that is read"),
        ({"classes": "1", "i": "run_it025_model.star"}, "no particles with a column rlnClass"),
        ({"classes": "1", "i": "nothing.star"}, "no such file"),
    ],
)
def test_what_cannot_be_done_is_said(job, options, words):
    with pytest.raises(InputError, match=words):
        chosen(**options)
    assert not Path("chosen.star").exists()


def test_a_class_without_particles_is_refused(job):
    rows = job["particles"].filter(pl.col("rlnClassNumber") != 2)
    write_star("run_it025_data.star", {**job, "particles": rows})
    with pytest.raises(InputError, match=r"no particle in class\(es\) 2"):
        chosen(classes="2")


def test_a_missing_model_matters_only_where_it_is_needed(job):
    Path("run_it025_model.star").unlink()
    assert chosen(classes="3") == of_classes(3)
    with pytest.raises(InputError, match=r"run_it025_model\.star.*no such file"):
        chosen(min_share=0.1)


def test_a_stack_of_particles_is_not_overwritten(job):
    with pytest.raises(InputError, match="another name"):
        chosen(o="a.star", classes="1", restack=True)
    assert read_header("a.mrcs").nz == 3


def test_images_of_two_sizes_do_not_make_a_stack(job):
    write_map("b.mrcs", np.zeros((3, 6, 6)), 1.5, stack=True)
    with pytest.raises(InputError, match=r"row 2: found an image of 6 x 6 pixels, expected 4 x 4"):
        chosen(classes="1,2", restack=True)
    assert not Path("chosen.mrcs").exists()


def averages_of_stack():
    """Make the classification one of 2D classes."""
    table = read_star("run_it025_model.star")["model_classes"]
    names = [f"00000{k}@run_it025_classes.mrcs" for k in (1, 2, 3)]
    table = table.with_columns(rlnReferenceImage=pl.Series(names))
    write_star("run_it025_model.star", {"model_classes": table})


def test_averages_of_the_chosen_classes_are_listed_as_templates(job):
    averages_of_stack()
    images = np.random.default_rng(3).normal(size=(3, 8, 8))
    write_map("run_it025_classes.mrcs", images, 1.5, stack=True)
    listing = Path("Select/job001/class_averages.star")
    chosen(max_resolution=20.0, fn_sel_classavgs=listing)
    table = read_star(listing)["model_classes"]
    names = ["000001@run_it025_classes.mrcs", "000003@run_it025_classes.mrcs"]
    assert table["rlnReferenceImage"].to_list() == names
    assert table["rlnClassDistribution"].to_list() == [0.5, 0.17]
    templates = read_references(listing, 1, "C1", 1.5, 0.0)
    np.testing.assert_array_equal(templates, images[[0, 2]].astype(np.float32))


@pytest.mark.parametrize("name", ["chosen.star", "run_it025_model.star", "run_it025_data.star"])
def test_averages_take_no_other_file_s_name(job, name):
    averages_of_stack()
    before = {path: path.read_bytes() for path in Path().glob("*.star")}
    with pytest.raises(InputError, match=rf"--fn_sel_classavgs {name}: .*another one"):
        chosen(classes="1", fn_sel_classavgs=Path(name))
    assert {path: path.read_bytes() for path in Path().glob("*.star")} == before


def test_maps_are_no_averages(job):
    with pytest.raises(InputError, match=r"found rlnReferenceImage run_it025_class001\.mrc"):
        chosen(classes="1", fn_sel_classavgs=Path("class_averages.star"))
    assert not Path("chosen.star").exists()


def test_lists_of_classes_are_read():
    assert numbers_in(" 7, 2-4,3") == [2, 3, 4, 7]


def test_the_command_says_how_many_there_are(job, capfd):
    words = ["select", "--i", "run_it025_data.star", "--o", "chosen.star", "--classes", "1,3"]
    assert command_line.main(words) == 0
    assert "chosen.star: 4 of 6 particles, of class(es) 1, 3" in capfd.readouterr().out
