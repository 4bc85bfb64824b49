"""A small data set that a test may spoil before a refinement starts from it."""

from __future__ import annotations

import struct

import numpy as np
import polars as pl

from factories.maps import blob_map
from factories.project import noise_project, refine_options
from relion_mpi.io.mrc import read_map, write_map
from relion_mpi.io.star import read_star, write_star
from relion_mpi.refine.start import make_start


class BadInput:
    """Twelve particles of box 16 and 4 Angstrom a pixel, three micrographs, one stack.

    Tables, stack, reference and options that can be changed, then `start`.
    """

    def __init__(self, folder, n=12):
        self.project = noise_project(folder, n=n)
        self.folder, self.star = folder, self.project.star
        self.stack, self.reference = self.project.stack, self.project.reference
        self.changes = {}
        blocks = read_star(self.star)
        self.optics, self.table = blocks["optics"], blocks["particles"]

    # Tables

    def column(self, label, values):
        """Add or replace a particle column."""
        values = np.broadcast_to(np.asarray(values), self.table.height)
        self.table = self.table.with_columns(pl.Series(label, values, strict=False))
        self.write()

    def cell(self, label, row, value):
        """Replace one value; `row` counts from 1 as messages do."""
        values = self.table[label].to_list()
        values[row - 1] = value
        self.table = self.table.with_columns(pl.Series(label, values, strict=False))
        self.write()

    def optic(self, label, value):
        self.optics = self.optics.with_columns(pl.lit(value).alias(label))
        self.write()

    def write(self):
        write_star(self.star, {"optics": self.optics, "particles": self.table})

    def text(self, change):
        """Change the bytes of the STAR file."""
        self.star.write_bytes(change(self.star.read_bytes()))

    def old(self, **columns):
        """Write a table of RELION 3.0: no optics table, 4 Angstrom a pixel."""
        values = {
            "rlnVoltage": 300.0, "rlnSphericalAberration": 2.7, "rlnAmplitudeContrast": 0.1,
            "rlnMagnification": 12500.0, "rlnDetectorPixelSize": 5.0, **columns,
        }  # fmt: skip
        added = [pl.lit(value).alias(label) for label, value in values.items() if value is not None]
        write_star(self.star, {"": self.table.drop("rlnOpticsGroup").with_columns(added)})

    # Images

    def images(self):
        return read_map(self.stack)[0]

    def write_images(self, images, pixel=4.0):
        write_map(self.stack, images, pixel, stack=True)

    def header(self, offset, code, *values):
        """Overwrite words of the stack's header."""
        raw = bytearray(self.stack.read_bytes())
        struct.pack_into(code, raw, offset, *values)
        self.stack.write_bytes(raw)

    # The run

    def options(self):
        return refine_options(self.project, **self.changes)

    def start(self):
        return make_start(self.options())


# Ways to spoil it: each returns a function of a BadInput.


def last_row(text):
    return text.rstrip().rsplit(b"\n", 1)


def change(**changes):
    return lambda bad: bad.changes.update(changes)


def cell(label, row, value):
    return lambda bad: bad.cell(label, row, value)


def column(label, values):
    return lambda bad: bad.column(label, values)


def optic(label, value):
    return lambda bad: bad.optic(label, value)


def text(function):
    return lambda bad: bad.text(function)


def old(**columns):
    return lambda bad: bad.old(**columns)


def drop(label):
    def spoil(bad):
        bad.table = bad.table.drop(label)
        bad.write()

    return spoil


def optics_column(function):
    def spoil(bad):
        bad.optics = function(bad.optics)
        bad.write()

    return spoil


def first_rows(n):
    def spoil(bad):
        bad.table = bad.table.head(n)
        bad.write()

    return spoil


def renamed(new_name):
    """Move the stack to another name below the folder, and its particles with it."""

    def spoil(bad):
        target = bad.folder / new_name
        target.parent.mkdir(exist_ok=True)
        bad.stack.rename(target)
        bad.table = bad.table.with_columns(
            rlnImageName=pl.format("{}@{}", pl.int_range(1, 13), pl.lit(new_name))
        )
        bad.write()

    return spoil


def loop(bad):
    link = bad.folder / "loop.mrcs"
    link.symlink_to(link)
    bad.cell("rlnImageName", 2, f"1@{link}")


def one_group_each_but_one(bad):
    bad.column("rlnGroupName", ["alone", *["many"] * 11])


def stack_of(shape):
    return lambda bad: bad.write_images(np.random.default_rng(0).normal(size=shape))


def reference(volume, pixel=4.0):
    return lambda bad: write_map(bad.reference, volume, pixel)


def mask(volume, pixel=4.0):
    def spoil(bad):
        write_map(bad.folder / "mask.mrc", volume, pixel)
        bad.changes["solvent_mask"] = bad.folder / "mask.mrc"

    return spoil


def with_voxel(value):
    volume = blob_map(16)
    volume[1, 2, 3] = value
    return volume


def mode(number):
    return lambda bad: bad.header(12, "<i", number)


def file_as_folder(bad):
    (bad.folder / "file").write_text("")
    bad.changes["o"] = bad.folder / "file" / "job" / "run"
