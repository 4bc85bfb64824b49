"""What the particle table of an iteration says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from relion_mpi.io.star import read_star

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_PIXEL_LABELS = ("rlnImagePixelSize", "rlnPixelSize")


@dataclass(frozen=True, slots=True)
class ParticleColumns:
    """Columns of the particles; None where the table has none.

    Attributes
    ----------
    n_particles : rows
    rot_deg, tilt_deg : float64 (n,)
    shift_angst : float64 (n, 2)
    defocus_angst : float64 (n, 2), larger and smaller one of each
    pmax : float64 (n,)
    n_significant : float64 (n,)
    class_number, half, optics_group : int64 (n,)
    image : names of the images
    micrograph : names of the micrographs
    coordinate_angst : float64 (n, 2) on the micrograph
    """

    n_particles: int
    rot_deg: NDArray[np.float64] | None = None
    tilt_deg: NDArray[np.float64] | None = None
    shift_angst: NDArray[np.float64] | None = None
    defocus_angst: NDArray[np.float64] | None = None
    pmax: NDArray[np.float64] | None = None
    n_significant: NDArray[np.float64] | None = None
    class_number: NDArray[np.int64] | None = None
    half: NDArray[np.int64] | None = None
    optics_group: NDArray[np.int64] | None = None
    image: pl.Series | None = None
    micrograph: pl.Series | None = None
    coordinate_angst: NDArray[np.float64] | None = None

    @property
    def n_micrographs(self) -> int | None:
        """Number of micrographs."""
        return None if self.micrograph is None else self.micrograph.n_unique()


def read_particles(path: Path) -> ParticleColumns:
    """Read the columns that a report needs.

    Parameters
    ----------
    path
        `_data.star` of RELION 3.0 or later.

    Returns
    -------
    ParticleColumns

    Raises
    ------
    InputError
        The file cannot be read.
    """
    blocks = read_star(path)
    tables = {name: one for name, one in blocks.items() if isinstance(one, pl.DataFrame)}
    # Files of RELION 3.0 and before have one table, of any name.
    others = [name for name in tables if name != "optics"]
    particles = tables["particles"] if "particles" in tables else tables[others[0]]
    return columns_of(particles, tables.get("optics"))


def columns_of(particles: pl.DataFrame, optics: pl.DataFrame | None) -> ParticleColumns:
    """Take the columns that a report needs from tables.

    Parameters
    ----------
    particles
        A row for each particle, RELION's labels.
    optics
        Optics groups, or None.

    Returns
    -------
    ParticleColumns
    """
    pixel = _pixel_sizes(particles, optics)
    shift = _pair(particles, "rlnOriginXAngst", "rlnOriginYAngst")
    if shift is None:
        shift = _scaled(_pair(particles, "rlnOriginX", "rlnOriginY"), pixel)
    defocus = _pair(particles, "rlnDefocusU", "rlnDefocusV")
    original = _pixel_sizes(particles, optics, ("rlnMicrographOriginalPixelSize",))
    return ParticleColumns(
        n_particles=len(particles),
        rot_deg=_float(particles, "rlnAngleRot"),
        tilt_deg=_float(particles, "rlnAngleTilt"),
        shift_angst=shift,
        defocus_angst=None if defocus is None else np.sort(defocus, axis=1)[:, ::-1],
        pmax=_float(particles, "rlnMaxValueProbDistribution"),
        n_significant=_float(particles, "rlnNrOfSignificantSamples"),
        class_number=_int(particles, "rlnClassNumber"),
        half=_int(particles, "rlnRandomSubset"),
        optics_group=_int(particles, "rlnOpticsGroup"),
        image=_text(particles, "rlnImageName"),
        micrograph=_text(particles, "rlnMicrographName"),
        coordinate_angst=_scaled(
            _pair(particles, "rlnCoordinateX", "rlnCoordinateY"),
            original if original is not None else pixel,
        ),
    )


def _float(table: pl.DataFrame, label: str) -> NDArray[np.float64] | None:
    if label not in table.columns:
        return None
    return table[label].cast(pl.Float64, strict=False).to_numpy()


def _int(table: pl.DataFrame, label: str) -> NDArray[np.int64] | None:
    if label not in table.columns:
        return None
    return table[label].cast(pl.Int64, strict=False).fill_null(0).to_numpy()


def _text(table: pl.DataFrame, label: str) -> pl.Series | None:
    return table[label].cast(pl.String) if label in table.columns else None


def _pair(table: pl.DataFrame, first: str, second: str) -> NDArray[np.float64] | None:
    a, b = _float(table, first), _float(table, second)
    return None if a is None or b is None else np.stack([a, b], axis=1)


def _scaled(
    pair: NDArray[np.float64] | None, pixel: NDArray[np.float64] | None
) -> NDArray[np.float64] | None:
    return None if pair is None or pixel is None else pair * pixel[:, None]


def _pixel_sizes(
    particles: pl.DataFrame, optics: pl.DataFrame | None, labels: tuple[str, ...] = _PIXEL_LABELS
) -> NDArray[np.float64] | None:
    """Return each particle's pixel size, Angstrom; None where no table has it."""
    group = _int(particles, "rlnOpticsGroup")
    if optics is not None and group is not None:
        for label in labels:
            numbers, sizes = _int(optics, "rlnOpticsGroup"), _float(optics, label)
            if numbers is None or sizes is None:
                continue
            by_group = dict(zip(numbers.tolist(), sizes.tolist(), strict=True))
            return np.array([by_group.get(g, np.nan) for g in group.tolist()])
    for label in labels:
        if (found := _float(particles, label)) is not None:
            return found
    detector, magnification = (
        _float(particles, label) for label in ("rlnDetectorPixelSize", "rlnMagnification")
    )
    if detector is None or magnification is None:
        return None
    return 10_000.0 * detector / magnification
