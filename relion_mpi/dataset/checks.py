"""Values of a particle table that can be read but not be right: refused, or told."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.core.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.dataset.columns import Table

log = logging.getLogger(__name__)

# No microscope is outside these; other units are (volts, micrometres).
_VOLTAGES_KV = (10.0, 3000.0)
_LARGEST_CS_MM = 100.0
# Nobody takes images closer to focus on purpose, and micrometres look like this.
_FOCUS_ANGST = 100.0
# Origins in Angstrom and in pixels of one row must agree to this.
_ORIGIN_TOLERANCE_ANGST = 0.01


def check_microscope(table: Table) -> None:
    """Check voltage, spherical aberration and amplitude contrast, as far as they are there.

    Parameters
    ----------
    table
        Optics groups, or particles of RELION 3.0.

    Raises
    ------
    InputError
        A value that no microscope has; a value of 0 that is possible is a warning.
    """
    voltage = table.numbers("rlnVoltage", _VOLTAGES_KV[0], finite=True)
    low, high = _VOLTAGES_KV
    _refuse(
        table, "rlnVoltage", voltage, (voltage < low) | (voltage > high),
        f"kilovolts from {low:g} to {high:g}",
    )  # fmt: skip
    cs = table.numbers("rlnSphericalAberration", 1.0, finite=True)
    _refuse(
        table, "rlnSphericalAberration", cs, np.abs(cs) > _LARGEST_CS_MM, "millimetres, such as 2.7"
    )
    contrast = table.numbers("rlnAmplitudeContrast", 0.1, finite=True)
    _refuse(
        table, "rlnAmplitudeContrast", contrast, (contrast < 0) | (contrast > 1),
        "a share from 0 to 1, such as 0.1",
    )  # fmt: skip
    _tell(
        table, "rlnSphericalAberration", cs <= 0, "is 0 or negative",
        "only microscopes with a corrector have that, others 2.7 or so",
    )  # fmt: skip
    _tell(table, "rlnAmplitudeContrast", contrast == 0, "is 0", "0.07 to 0.1 is usual")


def check_defocus(table: Table, values: dict[str, NDArray[np.float64]]) -> None:
    """Tell of particles in focus and of overfocus.

    Parameters
    ----------
    table
        Particle rows.
    values
        Label -> float64 (n_rows,) Angstrom, underfocus positive.
    """
    for label, defocus in values.items():
        if label not in table.frame.columns:
            continue
        _tell(
            table, label, np.abs(defocus) < _FOCUS_ANGST, f"is within {_FOCUS_ANGST:g} of 0",
            "Angstrom are expected, such as 15000",
        )  # fmt: skip
        _tell(
            table, label, defocus <= -_FOCUS_ANGST, "is negative",
            "that is overfocus: underfocus is positive",
        )  # fmt: skip


def check_norms(table: Table, norm: NDArray[np.float64]) -> None:
    """Refuse norm corrections that cannot be divided by."""
    _refuse(table, "rlnNormCorrection", norm, norm <= 0, "a positive number, such as 1")


def check_origins(
    table: Table, origin_angst: NDArray[np.float64], box_angst: NDArray[np.float64]
) -> None:
    """Tell of particle centres outside the image.

    Parameters
    ----------
    table
        Particle rows.
    origin_angst : float64 (n, 2)
        Angstrom.
    box_angst : float64 (n,)
        Side of each image, Angstrom.
    """
    outside = np.asarray((np.abs(origin_angst) > box_angst[:, None] / 2).any(axis=1))
    _tell(
        table, "rlnOriginXAngst/YAngst", outside, "puts the centre outside the image",
        "is it in Angstrom?",
    )  # fmt: skip


def check_same_origins(
    table: Table, old: str, new: str, converted: NDArray[np.float64]
) -> None:
    """Tell where a row's origins in pixels and in Angstrom disagree.

    Parameters
    ----------
    table
        Particle rows.
    old, new
        Labels of origins in pixels and in Angstrom.
    converted : float64 (n_rows,)
        Those in pixels times the pixel size.
    """
    off = np.abs(table.numbers(new, 0.0) - converted) > _ORIGIN_TOLERANCE_ANGST
    _tell(
        table, new, off, f"differs from {old} (pixels) times the pixel size",
        f"{new} is used: is it in Angstrom?",
    )  # fmt: skip


def check_groups(table: Table, group: NDArray[np.int64]) -> None:
    """Tell of scale groups of a single particle."""
    counts = np.bincount(group)
    alone = counts[group] == 1
    if alone.any():
        log.warning(
            "%s: %d of %d groups (rlnGroupName, else rlnMicrographName) have a single particle, "
            "the first in row %d, so that their intensity scale is mostly noise; join them with "
            "rlnGroupName",
            table.path, int((counts == 1).sum()), int((counts > 0).sum()),
            table.row_numbers[table.first(alone)],
        )  # fmt: skip


def _refuse(
    table: Table, label: str, values: NDArray[np.float64], bad: NDArray[np.bool_], expected: str
) -> None:
    if bad.any():
        row = table.first(bad)
        raise InputError(
            f"{table.where(row)}: {label} is {values[row]:g}, expected {expected}; correct it"
        )


def _tell(table: Table, label: str, odd: NDArray[np.bool_], found: str, advice: str) -> None:
    if odd.any():
        log.warning(
            "%s: %s %s in %d row(s); %s",
            table.where(table.first(odd)), label, found, int(odd.sum()), advice,
        )  # fmt: skip
