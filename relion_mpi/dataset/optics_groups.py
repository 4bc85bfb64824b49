"""Optics groups: what all particles of one microscope session share."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.dataset.checks import check_microscope

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.dataset.columns import Table

log = logging.getLogger(__name__)

# RELION's values where a file is silent (ctf.cpp:CTF::readByGroup).
_DEFAULTS = {"rlnVoltage": 200.0, "rlnSphericalAberration": 0.0, "rlnAmplitudeContrast": 0.0}


@dataclass(frozen=True, slots=True)
class OpticsGroups:
    """Optics of n groups; `number` is the id in the file, rows are indexed from 0."""

    number: NDArray[np.int64]  # (n,)
    name: list[str]
    voltage_kv: NDArray[np.float64]  # (n,)
    spherical_aberration_mm: NDArray[np.float64]  # (n,)
    amplitude_contrast: NDArray[np.float64]  # (n,)
    pixel_size_angst: NDArray[np.float64]  # (n,)
    box_size: NDArray[np.int64]  # (n,), 0 where the file does not tell
    beam_tilt_mrad: NDArray[np.float64]  # (n, 2)
    odd_zernike: list[NDArray[np.float64]]
    even_zernike: list[NDArray[np.float64]]
    magnification: NDArray[np.float64]  # (n, 2, 2)
    ctf_premultiplied: NDArray[np.bool_]  # (n,)
    table: pl.DataFrame  # every column of the file, for output

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return int(self.number.size)

    def indices(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the row of each group id, -1 where there is none.

        Parameters
        ----------
        numbers : int64 (n_particles,)
            Ids as in rlnOpticsGroup.

        Returns
        -------
        int64 (n_particles,)
            Rows of this record.
        """
        order = np.argsort(self.number)
        at = np.searchsorted(self.number[order], numbers).clip(max=self.n_groups - 1)
        rows = order[at]
        return np.where(self.number[rows] == numbers, rows, -1)


def read_optics_groups(table: Table) -> OpticsGroups:
    """Read the optics table.

    Parameters
    ----------
    table
        Rows of data_optics.

    Returns
    -------
    OpticsGroups
        Groups in the order of the file; `box_size` is 0 where rlnImageSize is absent.

    Raises
    ------
    InputError
        No group, no id or pixel size, an id given twice, a pixel size that is not positive, a
        value that is not finite or that no microscope has.
    """
    columns, n_groups = table.frame.columns, table.frame.height
    for label in ("rlnOpticsGroup", "rlnImagePixelSize"):
        if label not in columns:
            raise InputError(
                f"{table.path}, table '{table.name}': found no column {label}, expected one value "
                "for each optics group; add it"
            )
    if n_groups == 0:
        raise InputError(f"{table.path}, table '{table.name}': found no row, expected one or more")
    for label in _DEFAULTS:
        if label not in columns:
            log.warning("%s: no %s; %g is taken", table.path, label, _DEFAULTS[label])
    number = table.integers("rlnOpticsGroup", 1)
    _refuse_repeated(table, number)
    pixel_size = table.numbers("rlnImagePixelSize", 0.0, finite=True)
    if (pixel_size <= 0).any():
        row = table.first(pixel_size <= 0)
        raise InputError(
            f"{table.where(row)}: pixel size (rlnImagePixelSize) is {pixel_size[row]} Angstrom, "
            "expected a positive number; correct it"
        )
    check_microscope(table)
    tilt = [table.numbers(f"rlnBeamTilt{axis}", 0.0, finite=True) for axis in "XY"]
    magnification = [
        table.numbers(f"rlnMagMat{i}{j}", float(i == j), finite=True) for i in "01" for j in "01"
    ]
    voltage, cs, contrast = (table.numbers(x, d, finite=True) for x, d in _DEFAULTS.items())
    return OpticsGroups(
        number=number,
        name=_names(table, number),
        voltage_kv=voltage,
        spherical_aberration_mm=cs,
        amplitude_contrast=contrast,
        pixel_size_angst=pixel_size,
        box_size=table.integers("rlnImageSize", 0),
        beam_tilt_mrad=np.stack(tilt, axis=1),
        odd_zernike=_coefficients(table, "rlnOddZernike"),
        even_zernike=_coefficients(table, "rlnEvenZernike"),
        magnification=np.stack(magnification, axis=1).reshape(n_groups, 2, 2),
        ctf_premultiplied=table.integers("rlnCtfDataAreCtfPremultiplied", 0) != 0,
        table=table.frame,
    )


def _names(table: Table, number: NDArray[np.int64]) -> list[str]:
    if "rlnOpticsGroupName" in table.frame.columns:
        return table.frame["rlnOpticsGroupName"].cast(pl.String).to_list()
    return [f"opticsGroup{n}" for n in number]


def _refuse_repeated(table: Table, number: NDArray[np.int64]) -> None:
    _, first = np.unique(number, return_index=True)
    repeated = np.ones(number.size, dtype=bool)
    repeated[first] = False
    if repeated.any():
        row = table.first(repeated)
        raise InputError(
            f"{table.where(row)}: rlnOpticsGroup {number[row]} occurs a second time, expected each "
            "id once; renumber the group and its particles"
        )


def _coefficients(table: Table, label: str) -> list[NDArray[np.float64]]:
    """Read '[a,b,c]'; no coefficients where the column is absent."""
    if label not in table.frame.columns:
        return [np.zeros(0) for _ in range(table.frame.height)]
    result = []
    for row, text in enumerate(table.frame[label].cast(pl.String)):
        try:
            words = text.strip("[] ").replace(",", " ").split()
            result.append(np.array([float(word) for word in words]))
        except ValueError as error:
            raise InputError(
                f"{table.where(row)}: {label} is '{text}', expected numbers as in '[0.1,0.2]'"
            ) from error
    return result
