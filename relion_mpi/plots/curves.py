"""FSC curves and Guinier plots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.plots.style import (
    BLUE,
    COLOURS,
    GREY,
    INK,
    legend,
    plain,
    resolution_axis,
    thresholds,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

LOWEST_FSC, HIGHEST_FSC = -0.4, 1.03
CURVE_COLOURS = (INK, COLOURS[2], BLUE, COLOURS[4], COLOURS[3], COLOURS[1])


def fsc_limits(curves: list[NDArray[np.float64]]) -> tuple[float, float]:
    """Return ends of the y axis that show what is below zero too, but not a single wild shell."""
    lowest = min(-0.05, *(float(curve.min()) - 0.03 for curve in curves))
    return max(lowest, LOWEST_FSC), HIGHEST_FSC


def draw_fsc(
    axis: Any,
    curves: Mapping[str, NDArray[np.float64] | None],
    pixel_size_angst: float,
    levels: tuple[float, ...] = (0.143,),
) -> None:
    """Draw FSC curves.

    Parameters
    ----------
    axis
        Matplotlib axes.
    curves
        Name -> float64 (n_shell,); None is left out. The first is drawn strongest.
    pixel_size_angst
        Angstrom.
    levels
        Levels to mark.
    """
    there = [(name, curve) for name, curve in curves.items() if curve is not None]
    last = 0.5 / pixel_size_angst
    for (name, curve), colour in zip(there, CURVE_COLOURS, strict=False):
        width = 2.0 if colour == INK else 1.2
        axis.plot(
            np.linspace(0.0, last, curve.size), curve, color=colour, linewidth=width, label=name
        )
    thresholds(axis, levels)
    axis.set(ylim=fsc_limits([curve for _, curve in there]), ylabel="FSC")
    resolution_axis(axis, last)
    legend(axis)
    plain(axis)


def draw_guinier(
    axis: Any,
    squared_frequency: NDArray[np.float64],
    steps: Mapping[str, NDArray[np.float64] | None],
    fit: tuple[float, float] | None,
) -> None:
    """Draw logarithms of mean amplitudes against squared frequency.

    Parameters
    ----------
    axis
        Matplotlib axes.
    squared_frequency : float64 (n_shell,), 1 / Angstrom^2
    steps
        Name -> float64 (n_shell,), NaN where there is no amplitude; None is left out.
    fit
        Slope (Angstrom^2) and intercept of the fitted line, or None.
    """
    for (name, logs), colour in zip(steps.items(), CURVE_COLOURS, strict=False):
        if logs is not None:
            axis.plot(squared_frequency, logs, color=colour, linewidth=1.6, label=name)
    if fit is not None:
        slope, intercept = fit
        line = intercept + slope * squared_frequency
        name = f"fit: B = {4.0 * slope:.1f} Å²"
        axis.plot(squared_frequency, line, color=GREY, linewidth=1, ls="--", label=name)
    axis.set(xlim=(0, float(squared_frequency[-1])), xlabel="squared frequency (1/Å²)")
    axis.set_ylabel("ln of mean amplitude")
    legend(axis)
    plain(axis)
