"""Particle tables of RELION 3.0 and before, brought to the form of 3.1: optics groups, Angstrom."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.dataset.checks import check_microscope, check_same_origins

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.dataset.columns import Table

# Columns of a 3.0 particle row that belong to the optics table, in relion_convert_star's order.
_OPTICS = ("rlnAmplitudeContrast", "rlnSphericalAberration", "rlnVoltage")
_OPTICS_OPTIONAL = ("rlnBeamTiltX", "rlnBeamTiltY", "rlnMtfFileName")
_SCALE = ("rlnMagnification", "rlnDetectorPixelSize", "rlnPixelSize")
_ORIGINS = {
    "rlnOriginX": "rlnOriginXAngst",
    "rlnOriginY": "rlnOriginYAngst",
    "rlnOriginXPrior": "rlnOriginXPriorAngst",
    "rlnOriginYPrior": "rlnOriginYPriorAngst",
}


def to_optics_groups(table: Table) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split a particle table of RELION <= 3.0 into an optics and a particle table.

    Parameters
    ----------
    table
        All columns of the old table.

    Returns
    -------
    optics : DataFrame
        One row for each distinct set of optics values, numbered in the order of first occurrence.
    particles : DataFrame
        The rows, in their order, with rlnOpticsGroup and origins in Angstrom.

    Raises
    ------
    InputError
        The table does not tell the pixel size, or a value in it is not a number that is needed.

    Notes
    -----
    Source: relion_convert_star of RELION 3.1, with which tests compare. Pixel size in Angstrom is
    rlnDetectorPixelSize (micrometre) * 10^4 / rlnMagnification.
    """
    # Rows and labels can only be named as long as the table is the one of the file.
    check_microscope(table)
    for label in _OPTICS_OPTIONAL[:2]:
        table.numbers(label, 0.0, finite=True)
    frame = table.frame.with_columns(pl.Series("rlnImagePixelSize", _pixel_size(table)))
    keys = [name for name in (*_OPTICS, *_OPTICS_OPTIONAL) if name in frame.columns]
    keys.append("rlnImagePixelSize")
    optics = frame.select(keys).unique(maintain_order=True)
    number = pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("rlnOpticsGroup")
    name = pl.format("opticsGroup{}", pl.int_range(1, pl.len() + 1)).alias("rlnOpticsGroupName")
    optics = optics.select(number, name, pl.all())
    particles = frame.drop("rlnOpticsGroup", strict=False).join(
        optics.drop("rlnOpticsGroupName"), on=keys, how="left", maintain_order="left"
    )
    converted = dataclasses.replace(table, frame=particles)
    particles = origins_in_angstrom(converted, particles["rlnImagePixelSize"].to_numpy()).frame
    return optics, particles.drop(*keys, *_SCALE, strict=False)


def origins_in_angstrom(table: Table, pixel_size_angst: NDArray[np.float64]) -> Table:
    """Replace origins in pixels by origins in Angstrom, where the latter are absent.

    Parameters
    ----------
    table
        Particle rows.
    pixel_size_angst : float64 (n_rows,)
        Pixel size of each row, Angstrom.

    Returns
    -------
    Table
        The table without columns in pixels. Where both are there, Angstrom are kept, with a warning
        if they disagree.

    Raises
    ------
    InputError
        An origin is not a number.
    """
    columns = table.frame.columns
    wanted = {old: new for old, new in _ORIGINS.items() if old in columns}
    added = []
    for old, new in wanted.items():
        values = table.numbers(old, 0.0, finite="Prior" not in old) * pixel_size_angst
        if new in columns:
            check_same_origins(table, old, new, values)
        else:
            added.append(pl.Series(new, values))
    return dataclasses.replace(table, frame=table.frame.with_columns(added).drop(wanted))


def _pixel_size(table: Table) -> NDArray[np.float64]:
    """Return the pixel size of each row, Angstrom."""
    columns = table.frame.columns
    if {"rlnDetectorPixelSize", "rlnMagnification"} <= set(columns):
        source = "rlnDetectorPixelSize / rlnMagnification"
        magnification = table.numbers("rlnMagnification", 1.0, finite=True)
        micrometres = table.numbers("rlnDetectorPixelSize", 1.0, finite=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            size = micrometres * 1e4 / magnification
    else:
        source = next((x for x in ("rlnImagePixelSize", "rlnPixelSize") if x in columns), "")
        size = table.numbers(source, np.nan, finite=True)
    if not source:
        raise InputError(
            f"{table.path}, table '{table.name}': found neither a data_optics table nor "
            "rlnDetectorPixelSize and rlnMagnification, expected one of them to tell the pixel "
            "size; add the columns"
        )
    bad = ~(np.isfinite(size) & (size > 0))
    if bad.any():
        row = table.first(bad)
        raise InputError(
            f"{table.where(row)}: the pixel size ({source}) is {size[row]:g} Angstrom, expected a "
            "positive number; correct it"
        )
    return size
