"""Input that is read in silence, single cases, options and pixels; numbers of docs/bad_input.md."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import mrcfile
import numpy as np
import polars as pl
import pytest
from factories.bad_input import (
    BadInput,
    change,
    column,
    first_rows,
    renamed,
    text,
)

from relion_mpi.core.errors import InputError
from relion_mpi.core.option_parser import OptionParser
from relion_mpi.core.options import add_to_parser, from_namespace
from relion_mpi.dataset.pixel_checks import NOT_FINITE, check_pixels
from relion_mpi.dataset.quarantine import Quarantine
from relion_mpi.dataset.stacks import StackReader
from relion_mpi.io.mrc import write_map
from relion_mpi.parallel.devices import assign, parse_gpu, understood
from relion_mpi.refine.background import warn_of_background
from relion_mpi.refine.options import RefineOptions


@pytest.fixture
def bad(tmp_path):
    return BadInput(tmp_path)


# Read as it is: the same particles, and not a word.
READ = {
    "4 CR LF": text(lambda t: t.replace(b"\n", b"\r\n")),
    "5 no newline at the end": text(bytes.rstrip),
    "6 byte order mark": text(lambda t: b"\xef\xbb\xbf" + t),
    "10 unknown label": column("rlnNonsense", "x"),
    "14 ids from 0": lambda bad: (bad.optic("rlnOpticsGroup", 0), bad.column("rlnOpticsGroup", 0)),
    "31 blank in a name": renamed("my images/noise one.mrcs"),
    "32 absolute name": lambda bad: None,
    "32 outside the project": lambda bad: (
        renamed("data/noise.mrcs")(bad),
        (bad.folder / "project").mkdir(),
        bad.table.with_columns(pl.col("rlnImageName").str.replace("@", "@../")).pipe(
            lambda table: setattr(bad, "table", table)
        ),
        bad.write(),
    ),
    "52 folder of the output missing": change(o=Path("new/folder/run")),
}


@pytest.mark.parametrize("case", READ)
def test_what_is_unusual_but_clear_is_read_in_silence(case, bad, caplog, monkeypatch):
    expected = bad.start().particles
    READ[case](bad)
    project = bad.folder / "project"
    monkeypatch.chdir(project if project.is_dir() else bad.folder)
    bad.changes.setdefault("i", bad.star)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        found = bad.start().particles
    assert caplog.records == []
    np.testing.assert_array_equal(found.defocus_u_angst, expected.defocus_u_angst)
    np.testing.assert_array_equal(found.image_index, expected.image_index)
    np.testing.assert_array_equal(found.half, expected.half)


def test_10_unknown_labels_are_kept(bad):
    bad.column("rlnNonsense", [f"x{i}" for i in range(12)])
    assert bad.start().particles.frame["rlnNonsense"].to_list() == [f"x{i}" for i in range(12)]


def test_11_a_table_of_relion_30_is_read(bad):
    bad.old(rlnOriginX=1.5)
    particles = bad.start().particles
    assert particles.optics.pixel_size_angst.tolist() == [4.0]
    assert particles.optics.voltage_kv.tolist() == [300.0]
    assert set(particles.origin_angst[:, 0]) == {6.0}


def test_33_two_particles_make_two_half_sets(bad):
    first_rows(2)(bad)
    assert sorted(bad.start().particles.half) == [1, 2]


def test_35_more_than_a_hundred_thousand_groups_are_read(tmp_path):
    bad = BadInput(tmp_path)
    n = 120_000
    row = pl.int_range(n, eager=True)
    bad.table = pl.DataFrame({
        "rlnImageName": pl.select(pl.format("{}@{}", row % 12 + 1, pl.lit(str(bad.stack))))[:, 0],
        "rlnMicrographName": pl.select(pl.format("m{}", row))[:, 0],
        "rlnOpticsGroup": np.ones(n, int), "rlnDefocusU": np.full(n, 1e4),
    })  # fmt: skip
    bad.write()
    start = bad.start()
    assert len(start.particles.scale_group_names) == n
    assert start.model.halves[0].scale.size == n


def test_39_a_big_endian_stack_is_read(bad):
    expected = bad.images()
    raw = bad.stack.read_bytes()
    words = np.frombuffer(raw, "<u4").byteswap()
    swapped = bytearray(words.tobytes())
    swapped[208:216] = b"MAP \x11\x11\x00\x00"
    swapped[224:1024] = raw[224:1024]
    bad.stack.write_bytes(swapped)
    p = bad.start().particles
    images = StackReader(p.stack_headers).read(p.stack_file, p.image_index)
    np.testing.assert_array_equal(images, expected)


def test_46_optics_groups_may_have_boxes_of_their_own(bad):
    other = bad.folder / "other.mrcs"
    write_map(other, np.random.default_rng(1).normal(size=(6, 20, 20)), 3.2, stack=True)
    second = bad.optics.with_columns(
        rlnOpticsGroup=pl.lit(2).cast(pl.Int64), rlnImageSize=pl.lit(20).cast(pl.Int64),
        rlnImagePixelSize=pl.lit(3.2), rlnOpticsGroupName=pl.lit("b"),
    )  # fmt: skip
    bad.optics = pl.concat([bad.optics, second])
    names = [f"{i + 1}@{other}" for i in range(6)]
    bad.table = bad.table.with_columns(
        rlnOpticsGroup=pl.Series([1] * 6 + [2] * 6),
        rlnImageName=pl.Series(bad.table["rlnImageName"][:6].to_list() + names),
    )
    bad.write()
    particles = bad.start().particles
    assert particles.optics.box_size.tolist() == [16, 20]


def test_46_a_first_optics_group_without_particles_does_not_take_the_box_away(bad):
    empty = bad.optics.with_columns(
        rlnOpticsGroup=pl.lit(7).cast(pl.Int64), rlnOpticsGroupName=pl.lit("unused")
    )
    bad.optics = pl.concat([empty, bad.optics]).drop("rlnImageSize")
    bad.write()
    assert bad.start().model.box_size == 16


# Options


def parsed(*words):
    parser = OptionParser("relion-mpi refine3d")
    add_to_parser(parser, RefineOptions)
    needed = ["--i", "p.star", "--o", "run", "--ref", "r.mrc"]
    return from_namespace(RefineOptions, parser.read([*needed, *words]))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--auto_iter_max", "0"), "--auto_iter_max: found '0', expected a whole number, at least"),
        (("--healpix_order", "9"), "--healpix_order: found '9', expected a whole number from 0 to"),
        (("--particle_diamter", "9"), "unknown option --particle_diamter; did you mean --parti"),
        (("--K", "50"), "unknown option --K"),
        (("--ini_high", "nan"), "--ini_high: found 'nan', expected a number"),
    ],
)
def test_52_options_out_of_bounds_and_unknown_ones_are_refused(words, message):
    with pytest.raises(InputError, match=message):
        parsed(*words)


def test_52_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="--gpu 9: found device 9, but this rank sees 4 GPU"):
        assign(0, 4, 4, parse_gpu("9"))


def test_52_commas_between_gpus_are_told():
    """RELION's commas list the devices of one worker's threads; a worker here drives one."""
    assert "3 GPU(s) of the list are not used" in understood(parse_gpu("0,1,2,3"), 1, 4)


# Found on reading: tests/unit/dataset/test_pixel_checks.py and test_quarantine.py hold the details.


def spoilt_images(bad, value):
    images = bad.images()
    images[4, 3, 3] = value
    bad.write_images(images)


PIXELS = {
    "40 NaN": (lambda bad: spoilt_images(bad, np.nan), "NaN or infinite"),
    "41 constant": (
        lambda bad: bad.write_images(np.where(np.arange(12)[:, None, None] == 4, 3, bad.images())),
        "all pixels have the same value",
    ),
    "42 zeros": (
        lambda bad: bad.write_images(np.where(np.arange(12)[:, None, None] == 4, 0, bad.images())),
        "all pixels have the same value",
    ),
    "43 hot": (lambda bad: spoilt_images(bad, 1e30), "a pixel is more than 50 standard deviations"),
}


@pytest.mark.parametrize("case", PIXELS)
def test_unusable_images_are_found_when_they_are_read_and_named(case, bad):
    spoil, reason = PIXELS[case]
    spoil(bad)
    p = bad.start().particles
    flags = check_pixels(StackReader(p.stack_headers).read(p.stack_file, p.image_index))
    assert np.flatnonzero(flags).tolist() == [4]
    with pytest.raises(InputError, match=f"1 of 12 images .*{reason}.*000005@.*row 5") as told:
        Quarantine(p, None).add(np.arange(12), flags)
    assert str(told.value).startswith(str(bad.star))


def test_47_a_stack_in_half_precision_that_overflowed_is_found(bad):
    images = bad.images()
    images[7, 2, 2] = 1e6
    with np.errstate(over="ignore"):
        half = images.astype(np.float16)
    with warnings.catch_warnings(), mrcfile.new(bad.stack, overwrite=True) as file:
        warnings.simplefilter("ignore")  # mrcfile notices too
        file.set_data(half)
        file.voxel_size = 4.0
        file.set_image_stack()
    p = bad.start().particles
    flags = check_pixels(StackReader(p.stack_headers).read(p.stack_file, p.image_index))
    assert flags.tolist() == [0] * 7 + [NOT_FINITE] + [0] * 4


def test_48_images_that_are_not_normalised_are_told(bad, caplog):
    with caplog.at_level(logging.WARNING):
        warn_of_background("a", 0.1, 1.1)
        assert caplog.records == []
        warn_of_background("a", 100.0, 12.0)
    assert "optics group a: the background has mean 100.00" in caplog.text
