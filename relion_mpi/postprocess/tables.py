"""RELION's tables of a post-processing, and other programs' files of an FSC."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from relion_mpi.io.atomic import replacing
from relion_mpi.io.star import write_star
from relion_mpi.postprocess.curves import WORST_RESOLUTION_ANGST, shell_resolutions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from relion_mpi.postprocess.guinier import Guinier

UNMASKED = "rlnFourierShellCorrelationUnmaskedMaps"
MASKED = "rlnFourierShellCorrelationMaskedMaps"
RANDOMISED = "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps"
CORRECTED = "rlnFourierShellCorrelationCorrected"
OF_MASK = "rlnFourierShellCorrelationParticleMaskFraction"
OF_WEIGHT = "rlnFourierShellCorrelationParticleMolWeight"
_DIGITS = 7


def fsc_table(
    curves: Mapping[str, NDArray[np.float64] | None], box_size: int, pixel_size_angst: float
) -> pl.DataFrame:
    """Lay out curves by shell.

    Parameters
    ----------
    curves
        Label -> float64 (box_size // 2 + 1,); None is left out.
    box_size
        Voxels.
    pixel_size_angst
        Angstrom.

    Returns
    -------
    polars.DataFrame
        RELION's table `fsc`.
    """
    resolution = shell_resolutions(box_size, pixel_size_angst)
    columns = {
        "rlnSpectralIndex": np.arange(resolution.size),
        "rlnResolution": 1.0 / resolution,
        "rlnAngstromResolution": resolution,
    }
    there = {label: curve for label, curve in curves.items() if curve is not None}
    return _rounded({**columns, **there})


def guinier_table(guinier: Guinier) -> pl.DataFrame:
    """Lay out a Guinier plot.

    Parameters
    ----------
    guinier
        Steps that were left out give no column.

    Returns
    -------
    polars.DataFrame
        RELION's table `guinier`.
    """
    columns = {
        "rlnResolutionSquared": guinier.squared_frequency,
        "rlnLogAmplitudesOriginal": guinier.original,
        "rlnLogAmplitudesMTFCorrected": guinier.mtf_corrected,
        "rlnLogAmplitudesWeighted": guinier.weighted,
        "rlnLogAmplitudesSharpened": guinier.sharpened,
    }
    if guinier.fit is not None:
        level = np.full(guinier.squared_frequency.size, guinier.fit.intercept)
        columns["rlnLogAmplitudesIntercept"] = level
    return _rounded({label: one for label, one in columns.items() if one is not None})


def _rounded(columns: Mapping[str, NDArray[np.generic]]) -> pl.DataFrame:
    """Make a table that can be read by eye; single precision has no more digits anyway."""
    return pl.DataFrame(columns).with_columns(pl.col(pl.Float64).round_sig_figs(_DIGITS))


def general_table(values: Mapping[str, str | float | Path | None]) -> dict[str, str]:
    """Lay out single values, those that are None left out.

    Parameters
    ----------
    values
        Label -> text, name or number.

    Returns
    -------
    dict of str
        RELION's list `general`.
    """
    return {
        label: f"{value:.8g}" if isinstance(value, float) else str(value)
        for label, value in values.items()
        if value is not None
    }


def write_tables(
    path: Path, general: dict[str, str], fsc: pl.DataFrame, guinier: pl.DataFrame | None = None
) -> None:
    """Write a STAR file.

    Parameters
    ----------
    path
        File to replace.
    general, fsc, guinier
        Its blocks; None is left out.
    """
    blocks: dict[str, pl.DataFrame | dict[str, str]] = {"general": general, "fsc": fsc}
    if guinier is not None:
        blocks["guinier"] = guinier
    write_star(path, blocks)


def write_csv(path: Path, table: pl.DataFrame) -> None:
    """Write a table for spreadsheets.

    Parameters
    ----------
    path
        File to replace.
    table
        Labels become the header.
    """
    with replacing(path) as temporary:
        table.write_csv(temporary, float_precision=6)


def write_xml(path: Path, title: str, fsc: NDArray[np.float64], box_angst: float) -> None:
    """Write a curve in the EMDB's format for depositions.

    Parameters
    ----------
    path
        File to replace.
    title
        Of the curve.
    fsc : float64 (n_shell,)
    box_angst
        Side of the box, Angstrom.

    Source
    ------
    The EMDB's emdb_fsc.xsd; RELION writes the same elements.
    """
    x = np.arange(fsc.size) / box_angst
    # Not 0, and still ascending in boxes of more than 999 A.
    x[0] = min(1.0 / WORST_RESOLUTION_ANGST, 0.5 * x[1])
    lines = [
        f'<fsc title="{title}" xaxis="Resolution (A-1)" yaxis="Correlation Coefficient">',
        *(
            f"  <coordinate>\n    <x>{a:.6g}</x>\n    <y>{b:.6g}</y>\n  </coordinate>"
            for a, b in zip(x, fsc, strict=True)
        ),
        "</fsc>",
    ]
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
