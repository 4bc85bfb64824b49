"""Guinier plot: logarithm of the mean amplitude against squared frequency, and its slope."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

NO_AMPLITUDE = -99.0
"""Stands for the logarithm of 0, as in RELION's tables."""


@dataclass(frozen=True, slots=True)
class LineFit:
    """A straight line through a Guinier plot.

    Attributes
    ----------
    slope : Angstrom^2
    intercept : logarithm of an amplitude
    correlation : squared correlation coefficient, as RELION's fitStraightLine
    """

    slope: float
    intercept: float
    correlation: float

    @property
    def bfactor(self) -> float:
        """B-factor that makes the line level, Angstrom^2, negative where amplitudes fall."""
        return 4.0 * self.slope


@dataclass(frozen=True, slots=True)
class Guinier:
    """Logarithms of mean amplitudes by shell, None where a step was left out.

    Attributes
    ----------
    squared_frequency : float64 (n_shell,), 1 / Angstrom^2
    original, mtf_corrected, weighted, sharpened : float64 (n_shell,)
    fit : LineFit, or None where no B-factor was fitted
    """

    squared_frequency: NDArray[np.float64]
    original: NDArray[np.float64]
    mtf_corrected: NDArray[np.float64] | None
    weighted: NDArray[np.float64] | None
    sharpened: NDArray[np.float64] | None
    fit: LineFit | None


def log_amplitudes(amplitudes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take logarithms, -99 for 0.

    Parameters
    ----------
    amplitudes : float64 (n_shell,)

    Returns
    -------
    float64 (n_shell,)
    """
    there = amplitudes > 0
    return np.where(there, np.log(np.where(there, amplitudes, 1.0)), NO_AMPLITUDE)


def fit_line(
    squared_frequency: NDArray[np.float64],
    logs: NDArray[np.float64],
    lowest_angst: float,
    highest_angst: float,
) -> LineFit | None:
    """Fit a straight line between two resolutions.

    Parameters
    ----------
    squared_frequency : float64 (n_shell,), 1 / Angstrom^2
    logs : float64 (n_shell,)
        Points without amplitude are passed over.
    lowest_angst, highest_angst
        Ends of the range, inclusive; highest 0 means to the last shell.

    Returns
    -------
    LineFit or None
        None with fewer than two points.
    """
    with np.errstate(divide="ignore"):
        resolution = 1.0 / np.sqrt(squared_frequency)
    # A shell of exactly 10 A must not fall out by rounding.
    inside = (resolution <= lowest_angst * (1 + 1e-9)) & (resolution >= highest_angst * (1 - 1e-9))
    inside &= logs > NO_AMPLITUDE
    if inside.sum() < 2:
        return None
    x, y = squared_frequency[inside], logs[inside]
    dx, dy = x - x.mean(), y - y.mean()
    slope = float((dx * dy).sum() / (dx * dx).sum())
    spread = float((dx * dx).sum() * (dy * dy).sum())
    correlation = float((dx * dy).sum()) ** 2 / spread if spread > 0 else 1.0
    return LineFit(slope, float(y.mean() - slope * x.mean()), correlation)
