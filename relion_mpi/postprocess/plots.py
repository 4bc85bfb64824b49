"""FSC curves and the Guinier plot as pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from relion_mpi.io.atomic import replacing
from relion_mpi.postprocess.guinier import NO_AMPLITUDE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from relion_mpi.postprocess.guinier import Guinier

BLACK, GREY = "#1a202c", "#8a8f98"
COLOURS = (BLACK, "#2f855a", "#2b6cb0", "#c53030")


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
    axis = _new_axis(title)
    there = [(name, curve) for name, curve in curves.items() if curve is not None]
    last = 0.5 / pixel_size_angst
    for (name, curve), colour in zip(there, COLOURS, strict=False):
        frequency = np.linspace(0.0, last, curve.size)
        width = 2.0 if colour == BLACK else 1.2
        axis.plot(frequency, curve, color=colour, linewidth=width, label=name)
    for threshold in thresholds:
        axis.axhline(threshold, color=GREY, linewidth=0.8, ls="--", zorder=0)
        axis.annotate(f"  {threshold:g}", (1.0, threshold), xycoords=("axes fraction", "data"),
                      color=GREY, fontsize=8, ha="left", va="center")  # fmt: skip
    axis.axhline(0.0, color=GREY, linewidth=0.5, zorder=0)
    lowest = min(-0.05, *(float(curve.min()) - 0.03 for _, curve in there))
    axis.set(xlim=(0, last), ylim=(max(lowest, -0.4), 1.03), ylabel="FSC")
    ticks = np.linspace(0, last, 7)[1:]
    axis.set_xticks(ticks, [f"{1 / t:.3g}" for t in ticks])
    axis.set_xlabel("resolution (A)")
    _finish(axis, path)


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
    axis = _new_axis(title)
    steps = (
        ("original", guinier.original), ("divided by the MTF", guinier.mtf_corrected),
        ("FSC-weighted", guinier.weighted), ("sharpened", guinier.sharpened),
    )  # fmt: skip
    x = guinier.squared_frequency
    for (name, logs), colour in zip(steps, COLOURS, strict=True):
        if logs is not None:
            shown = np.where(logs > NO_AMPLITUDE, logs, np.nan)
            axis.plot(x, shown, color=colour, linewidth=1.6, label=name)
    if guinier.fit is not None:
        line = guinier.fit.intercept + guinier.fit.slope * x
        name = f"fit: B = {guinier.fit.bfactor:.1f} A^2"
        axis.plot(x, line, color=GREY, linewidth=1, ls="--", label=name)
    axis.set(xlim=(0, float(x[-1])), xlabel="squared frequency (1/A^2)")
    axis.set_ylabel("ln of mean amplitude")
    _finish(axis, path)


def _new_axis(title: str) -> Any:
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    axis.set_title(title, fontsize=10)
    return axis


def _finish(axis: Any, path: Path) -> None:
    axis.legend(frameon=False, fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=9)
    with replacing(path) as temporary:
        axis.figure.savefig(temporary, dpi=130, format="png")
