"""Particle tables of RELION 3.0 and before, brought to the form of 3.1: optics groups, Angstrom."""

from __future__ import annotations

import polars as pl

from relion_mpi.core.errors import InputError

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


def to_optics_groups(frame: pl.DataFrame, where: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split a particle table of RELION <= 3.0 into an optics and a particle table.

    Parameters
    ----------
    frame
        All columns of the old table.
    where
        File and table, for messages.

    Returns
    -------
    optics : DataFrame
        One row for each distinct set of optics values, numbered in the order of first occurrence.
    particles : DataFrame
        The rows, in their order, with rlnOpticsGroup and origins in Angstrom.

    Raises
    ------
    InputError
        The table does not tell the pixel size.

    Notes
    -----
    Source: relion_convert_star of RELION 3.1, with which tests compare. Pixel size in Angstrom is
    rlnDetectorPixelSize (micrometre) * 10^4 / rlnMagnification.
    """
    frame = frame.with_columns(_pixel_size(frame, where))
    keys = [name for name in (*_OPTICS, *_OPTICS_OPTIONAL) if name in frame.columns]
    keys.append("rlnImagePixelSize")
    optics = frame.select(keys).unique(maintain_order=True)
    number = pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("rlnOpticsGroup")
    name = pl.format("opticsGroup{}", pl.int_range(1, pl.len() + 1)).alias("rlnOpticsGroupName")
    optics = optics.select(number, name, pl.all())
    particles = frame.drop("rlnOpticsGroup", strict=False).join(
        optics.drop("rlnOpticsGroupName"), on=keys, how="left", maintain_order="left"
    )
    particles = origins_in_angstrom(particles, pl.col("rlnImagePixelSize"))
    return optics, particles.drop(*keys, *_SCALE, strict=False)


def origins_in_angstrom(frame: pl.DataFrame, pixel_size_angst: pl.Expr) -> pl.DataFrame:
    """Replace origins in pixels by origins in Angstrom, where the latter are absent.

    Parameters
    ----------
    frame
        Particle table.
    pixel_size_angst
        Pixel size of each row, Angstrom.

    Returns
    -------
    DataFrame
        The table without columns in pixels.
    """
    wanted = {old: new for old, new in _ORIGINS.items() if old in frame.columns}
    added = [
        (pl.col(old).cast(pl.Float64) * pixel_size_angst).alias(new)
        for old, new in wanted.items()
        if new not in frame.columns
    ]
    return frame.with_columns(added).drop(wanted)


def _pixel_size(frame: pl.DataFrame, where: str) -> pl.Expr:
    if "rlnDetectorPixelSize" in frame.columns and "rlnMagnification" in frame.columns:
        micrometres = pl.col("rlnDetectorPixelSize").cast(pl.Float64)
        size = micrometres * 1e4 / pl.col("rlnMagnification").cast(pl.Float64)
    elif "rlnImagePixelSize" in frame.columns:
        size = pl.col("rlnImagePixelSize").cast(pl.Float64)
    elif "rlnPixelSize" in frame.columns:
        size = pl.col("rlnPixelSize").cast(pl.Float64)
    else:
        raise InputError(
            f"{where}: found neither a data_optics table nor rlnDetectorPixelSize and "
            "rlnMagnification, expected one of them to tell the pixel size; add the columns"
        )
    return size.alias("rlnImagePixelSize")
