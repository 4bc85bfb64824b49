"""Bad input, by its number in docs/bad_input.md: refused, or read with a warning."""

from __future__ import annotations

import gzip
import logging
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from factories.bad_input import (
    BadInput,
    cell,
    change,
    column,
    drop,
    file_as_folder,
    first_rows,
    last_row,
    loop,
    mask,
    mode,
    old,
    one_group_each_but_one,
    optic,
    optics_column,
    reference,
    stack_of,
    text,
    with_voxel,
)
from factories.maps import blob_map

from relion_mpi.core.errors import InputError


@pytest.fixture
def bad(tmp_path):
    return BadInput(tmp_path)


# Refused: (number, what), how to make it, and the message, which begins with the file's name where
# there is a file, or with the option.
REFUSED = {
    "1 file missing": (change(i=Path("nowhere.star")), r"nowhere\.star: .* no such file; check"),
    "1 file is a folder": (change(i=Path("/tmp")), "/tmp: .* no such file"),
    "2 empty": (text(lambda _: b""), "particles.star: the file is empty, expected"),
    "3 binary": (text(gzip.compress), "particles.star: the file is binary"),
    "3 not UTF-8": (
        text(lambda t: t.replace(b"mic1", b"mic\xe9", 1)),
        r"particles\.star, line \d+: byte 0xe9 is not UTF-8 .* iconv",
    ),
    "7 row too short": (
        text(lambda t: b"\n".join([last_row(t)[0], b"1@x.mrcs mic\n"])),
        r"particles\.star, line \d+: found 2 values in a row; expected 4",
    ),
    "8 row too long": (
        text(lambda t: t.rstrip() + b" 7\n"),
        r"particles\.star, line \d+: found 5 values in a row; expected 4",
    ),
    "9 duplicate label": (
        text(lambda t: t.replace(b"_rlnMicrographName", b"_rlnImageName")),
        r"line \d+: label '_rlnImageName' occurs twice .* remove",
    ),
    "11 no optics and no pixel size": (
        old(rlnMagnification=None),
        "neither a data_optics table nor rlnDetectorPixelSize and rlnMagnification",
    ),
    "11 old file, magnification 0": (
        old(rlnMagnification=0.0),
        r"row 1: the pixel size \(rlnDetectorPixelSize / rlnMagnification\) is inf Angstrom",
    ),
    "11 old file, magnification is text": (
        old(rlnMagnification="high"), "row 1: rlnMagnification is 'high', expected a number"
    ),
    "11 old file, origin is text": (
        old(rlnOriginX="left"), "row 1: rlnOriginX is 'left', expected a number"
    ),
    "12 no id in the optics table": (
        optics_column(lambda o: o.drop("rlnOpticsGroup")),
        "table 'optics': found no column rlnOpticsGroup",
    ),
    "12 no id in the particle table": (
        drop("rlnOpticsGroup"), "table 'particles': found no column rlnOpticsGroup"
    ),
    "12 id of no group": (
        cell("rlnOpticsGroup", 5, 3), r"row 5: rlnOpticsGroup is 3, expected one of \[1\]"
    ),
    "13 id twice": (
        optics_column(lambda o: pl.concat([o, o])),
        "table 'optics', row 2: rlnOpticsGroup 1 occurs a second time",
    ),
    "15 no image names": (drop("rlnImageName"), "found no column rlnImageName"),
    "16 no at": (
        cell("rlnImageName", 4, "noise.mrcs"), "row 4: rlnImageName is 'noise.mrcs', expected"
    ),
    "16 no stack behind the at": (cell("rlnImageName", 4, "7@"), "row 4: rlnImageName is '7@'"),
    "17 index 0": (cell("rlnImageName", 4, "0@noise.mrcs"), "row 4: .*an index of 1 or more"),
    "18 index beyond the stack": (
        lambda bad: bad.cell("rlnImageName", 4, f"13@{bad.stack}"),
        "row 4: rlnImageName is '13@.*noise.mrcs holds 12 images; correct",
    ),
    "18 stack missing": (
        cell("rlnImageName", 4, "1@no.mrcs"), "row 4: there is no stack .*no.mrcs, expected it"
    ),
    "22 half-sets 0 and 1": (
        column("rlnRandomSubset", [1, 0] * 6), "row 2: rlnRandomSubset is 0, expected 1 or 2"
    ),
    "23 half-set 3": (
        column("rlnRandomSubset", [1, 2, 3] * 4), "row 3: rlnRandomSubset is 3, expected 1 or 2"
    ),
    "24 nan": (cell("rlnDefocusU", 3, np.nan), "row 3: rlnDefocusU is nan, expected a finite"),
    "24 inf": (cell("rlnDefocusU", 3, np.inf), "row 3: rlnDefocusU is inf, expected a finite"),
    "24 text": (
        lambda bad: bad.column("rlnDefocusU", ["1.5e4"] * 6 + ["deep"] * 6),
        "row 7: rlnDefocusU is 'deep', expected a number",
    ),
    "25 no defocus at all": (drop("rlnDefocusU"), "found no column rlnDefocusU.*--no-ctf"),
    "27 voltage 0": (
        optic("rlnVoltage", 0.0), "'optics', row 1: rlnVoltage is 0, expected kilovolts"
    ),
    "27 voltage in volts": (optic("rlnVoltage", 300000.0), "row 1: rlnVoltage is 300000"),
    "27 voltage 0 in an old file": (
        old(rlnVoltage=0.0), "row 1: rlnVoltage is 0, expected kilovolts"
    ),
    "27 amplitude contrast in per cent": (
        optic("rlnAmplitudeContrast", 10.0), "row 1: rlnAmplitudeContrast is 10, expected a share"
    ),
    "28 pixel size 0": (
        optic("rlnImagePixelSize", 0.0), r"row 1: pixel size \(rlnImagePixelSize\) is 0.0 Angstrom"
    ),
    "28 pixel size negative": (optic("rlnImagePixelSize", -4.0), "row 1: .*is -4.0 Angstrom"),
    "30 origin is text": (column("rlnOriginX", "left"), "row 1: rlnOriginX is 'left'"),
    "32 loop of links": (loop, r"row 2: there is no stack .*loop\.mrcs \(Too many levels of symb"),
    "32 name too long": (
        cell("rlnImageName", 2, "1@" + 300 * "x"), r"row 2: .*\(File name too long\)"
    ),
    "33 no particle": (first_rows(0), "found no particle, expected one or more"),
    "33 one particle": (first_rows(1), "particles.star: found 1 particle, expected two or more"),
    "36 truncated": (
        lambda bad: bad.stack.write_bytes(bad.stack.read_bytes()[:-100]),
        r"row 1: .*noise\.mrcs: found 13212 bytes, expected 13312 .* truncated",
    ),
    "37 header only": (
        lambda bad: bad.stack.write_bytes(bad.stack.read_bytes()[:1024]),
        r"row 1: .*noise\.mrcs: found 1024 bytes, expected 13312",
    ),
    "37 less than a header": (
        lambda bad: bad.stack.write_bytes(bad.stack.read_bytes()[:99]),
        r"row 1: .*noise\.mrcs: found 99 bytes, expected an MRC header",
    ),
    "38 mode 101": (mode(101), r"row 1: .*noise\.mrcs: MRC mode 101 cannot be read, expected one"),
    "38 mode 4": (mode(4), "MRC mode 4 cannot be read.* convert"),
    "38 mode 99": (mode(99), "MRC mode 99 cannot be read"),
    "44 odd box": (
        lambda bad: (stack_of((12, 15, 15))(bad), bad.optic("rlnImageSize", 15)),
        "row 1: the image is 15 pixels wide, expected an even number",
    ),
    "45 not square": (stack_of((12, 16, 14)), r"row 1: .* are 14 x 16 pixels, expected square"),
    "46 box unlike the optics group's": (
        stack_of((12, 20, 20)), "row 1: the image is 20 pixels wide, expected 16"
    ),
    "49 odd reference": (reference(blob_map(15)), "reference.mrc: .*odd side of 15 voxels; pad"),
    "49 NaN in the reference": (reference(with_voxel(np.nan)), "reference.mrc: .*1 voxels .*NaN"),
    "49 reference of zeros": (
        reference(np.zeros((16, 16, 16))), "reference.mrc: all voxels of the reference are 0"
    ),
    "49 reference is a slab": (reference(np.ones((8, 16, 16))), "reference.mrc: .*expected a cube"),
    "49 reference missing": (change(ref=Path("no.mrc")), r"no\.mrc: an MRC file was expected"),
    "50 mask above 1": (mask(2 * blob_map(16)), "mask.mrc: mask values go from .* expected 0 to 1"),
    "50 empty mask": (mask(np.zeros((16, 16, 16))), "mask.mrc: the mask is empty"),
    "50 mask of another box": (mask(np.ones((18, 18, 18))), "mask.mrc: the mask has a box of 18"),
    "50 mask of another pixel size": (
        mask(np.ones((16, 16, 16)), 3.0), "mask.mrc: the mask's pixel size is 3 A"
    ),
    "51 misspelt": (change(sym="CD2"), "symmetry 'CD2' is not a point group; expected one of C1"),
    "51 C0": (change(sym="C0"), "symmetry 'C0' is not a point group"),
    "51 mirror": (change(sym="C2v"), "symmetry 'C2v' is not supported"),
    "52 diameter beyond the box": (
        change(particle_diameter=65.0), "--particle_diameter 65 is larger than the box"
    ),
    "52 mask edge beyond the box": (change(maskedge=16.0), "--maskedge 16 is not smaller than the"),
    "52 low-pass beyond the box": (change(ini_high=65.0), "--ini_high 65 is longer than the box"),
    "52 output below a file": (
        file_as_folder, "--o .*its folder cannot be made .*file is a file; choose another"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused_before_anything_is_written(case, bad):
    spoil, message = REFUSED[case]
    spoil(bad)
    before = sorted(bad.folder.rglob("*"))
    with pytest.raises(InputError, match=message) as told:
        bad.start()
    assert "\n" not in str(told.value)
    assert sorted(bad.folder.rglob("*")) == before


# Read, with a warning that names file, row or label, and what is done.
TOLD = {
    "19 image twice": (
        lambda bad: bad.cell("rlnImageName", 5, f"1@{bad.stack}"),
        r"particles\.star: 1 particles name an image .* \(row 5\)",
    ),
    "20 no micrograph": (drop("rlnMicrographName"), "neither rlnGroupName nor rlnMicrographName"),
    "21 half-set 1 only": (
        column("rlnRandomSubset", 1), "rlnRandomSubset is 1 for every particle; half-sets are drawn"
    ),
    "25 defocus 0": (
        cell("rlnDefocusU", 4, 0.0), r"row 4: rlnDefocusU is within 100 of 0 in 1 row\(s\)"
    ),
    "26 overfocus": (
        cell("rlnDefocusU", 4, -9000.0), r"row 4: rlnDefocusU is negative in 1 row\(s\)"
    ),
    "27 amplitude contrast 0": (
        optic("rlnAmplitudeContrast", 0.0), "'optics', row 1: rlnAmplitudeContrast is 0"
    ),
    "27 spherical aberration 0": (
        optic("rlnSphericalAberration", 0.0), "row 1: rlnSphericalAberration is 0 or negative"
    ),
    "29 pixel size unlike the header's": (
        lambda bad: (bad.optic("rlnImagePixelSize", 4.2), bad.changes.update(ref_angpix=4.2)),
        r"pixel size is 4\.2 Angstrom, but 4 in the header of .*noise\.mrcs",
    ),
    "30 origin outside the image": (
        column("rlnOriginXAngst", [0.0] * 5 + [33.0] * 7),
        r"row 6: rlnOriginXAngst/YAngst puts the centre outside the image in 7 row\(s\)",
    ),
    "30 pixels under both labels": (
        lambda bad: (bad.column("rlnOriginX", 2.0), bad.column("rlnOriginXAngst", 2.0)),
        r"row 1: rlnOriginXAngst differs from rlnOriginX \(pixels\) times the pixel size in 12",
    ),
    "30 pixels under RELION 3.0's label": (
        column("rlnOriginX", 2.0), "origins are in pixels; converted to Angstrom"
    ),
    "34 group of one particle": (
        one_group_each_but_one, r"1 of 2 groups .* have a single particle, the first in row 1"
    ),
    "49 reference of another box": (
        reference(blob_map(24)), "reference.mrc has a box of 24 voxels, the particles 16: it is cro"
    ),
    "49 reference of another pixel size": (
        reference(blob_map(24), 3.0), r"reference\.mrc has a pixel size of 3 A, .* it is resampled"
    ),
    "52 low-pass beyond Nyquist": (
        change(ini_high=3.0), r"--ini_high 3 is beyond the Nyquist frequency .*\(8 A\); 8 is taken"
    ),
    "52 output root is a folder": (
        lambda bad: bad.changes.update(o=bad.folder), "--o .* is a folder: .* give .*/run"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TOLD)
def test_what_may_be_wrong_is_told_and_read(case, bad, caplog):
    spoil, message = TOLD[case]
    spoil(bad)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        start = bad.start()
    assert start.particles.n_particles == 12
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1, said
    assert re.search(message, said[0]), said


def test_every_case_of_the_list_is_tested():
    files = (Path(__file__), Path(__file__).with_name("test_unusual_input.py"))
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    numbers = {int(n) for n in re.findall(r'^    "(\d+) ', text, re.MULTILINE)}
    numbers |= {int(n) for n in re.findall(r"^def test_(\d+)_", text, re.MULTILINE)}
    assert sorted(set(range(1, 53)) - numbers) == []
