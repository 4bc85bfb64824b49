"""FSC curves and the Guinier plot as pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.io.atomic import replacing
from relion_mpi.plots.curves import draw_fsc, draw_guinier
from relion_mpi.plots.style import new_axis
from relion_mpi.postprocess.guinier import NO_AMPLITUDE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from relion_mpi.postprocess.guinier import Guinier

SIZE_INCH = (6.4, 4.4)


def write_fsc_plot(
    path: Path,
    curves: Mapping[str, NDArray[np.float64] | None],
    pixel_size_angst: float,
    title: str,
    thresholds: tuple[float, ...] = (0.143,),
) -> None:
    """Draw FSC curves.

    Parameters
    ----------
    path
        PNG to replace.
    curves
        Name -> float64 (n_shell,); None is left out. The first is drawn strongest.
    pixel_size_angst
        Angstrom.
    title
        Above the plot.
    thresholds
        Levels to mark.
    """
    axis = new_axis(*SIZE_INCH)
    axis.set_title(title, fontsize=10)
    draw_fsc(axis, curves, pixel_size_angst, thresholds)
    _save(axis.figure, path)


def write_guinier_plot(path: Path, guinier: Guinier, title: str) -> None:
    """Draw logarithms of mean amplitudes against squared frequency.

    Parameters
    ----------
    path
        PNG to replace.
    guinier
        Steps that were left out are not drawn.
    title
        Above the plot.
    """
    steps = {
        "original": guinier.original, "divided by the MTF": guinier.mtf_corrected,
        "FSC-weighted": guinier.weighted, "sharpened": guinier.sharpened,
    }  # fmt: skip
    shown = {
        name: None if logs is None else np.where(logs > NO_AMPLITUDE, logs, np.nan)
        for name, logs in steps.items()
    }
    fit = None if guinier.fit is None else (guinier.fit.slope, guinier.fit.intercept)
    axis = new_axis(*SIZE_INCH)
    axis.set_title(title, fontsize=10)
    draw_guinier(axis, guinier.squared_frequency, shown, fit)
    _save(axis.figure, path)


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
