"""Colours and axes that all plots share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Sequence

INK, GREY, RULE = "#1a202c", "#7b8190", "#d5d8de"
BLUE, ORANGE, GREEN, VERMILION = "#0072b2", "#e69f00", "#009e73", "#d55e00"
PURPLE, SKY = "#b4508a", "#56b4e9"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, VERMILION, SKY)
"""Told apart by eyes of all kinds.

Source: Okabe and Ito 2008, Color Universal Design; the purple is darker than theirs.
"""
FONT_SIZE = 9


def new_figure(width_inch: float, height_inch: float) -> Figure:
    """Make an empty figure that no window owns, so that any thread may draw it.

    Parameters
    ----------
    width_inch, height_inch
        Size.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(width_inch, height_inch), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def new_axis(width_inch: float, height_inch: float) -> Any:
    """Make axes in an empty figure of their own; parameters as in `new_figure`.

    Returns
    -------
    matplotlib.axes.Axes
        Typed loosely: matplotlib's own types are narrower than what it takes.
    """
    return new_figure(width_inch, height_inch).subplots()


def plain(axis: Any) -> None:
    """Take the frame away and leave what is needed to read values.

    Parameters
    ----------
    axis
        Matplotlib axes, already filled.
    """
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(GREY)
    axis.tick_params(labelsize=FONT_SIZE, color=GREY, labelcolor=INK)
    for label in (axis.xaxis.label, axis.yaxis.label):
        label.set(color=INK, size=FONT_SIZE)
    axis.title.set_color(INK)


def legend(axis: Any, **options: Any) -> None:
    """Add a legend without a frame.

    Parameters
    ----------
    axis
        Matplotlib axes.
    **options
        Of `legend`.
    """
    axis.legend(frameon=False, fontsize=FONT_SIZE - 0.5, labelcolor=INK, **options)


def resolution_axis(axis: Any, last: float) -> None:
    """Label spatial frequencies by the resolution that people speak of.

    Parameters
    ----------
    axis
        Matplotlib axes whose x is 1/Angstrom.
    last
        End of the axis, 1/Angstrom.
    """
    axis.set_xlim(0, last)
    ticks = np.linspace(0, last, 7)[1:]
    axis.set_xticks(ticks, [f"{1 / t:.3g}" for t in ticks])
    axis.set_xlabel("resolution (Å)")


def thresholds(axis: Any, levels: Sequence[float]) -> None:
    """Mark levels of an FSC, and zero.

    Parameters
    ----------
    axis
        Matplotlib axes.
    levels
        Correlations.
    """
    for level in levels:
        axis.axhline(level, color=GREY, linewidth=0.8, ls="--", zorder=0)
        axis.annotate(f" {level:g}", (1.0, level), xycoords=("axes fraction", "data"),
                      color=GREY, fontsize=FONT_SIZE - 1, ha="left", va="center")  # fmt: skip
    axis.axhline(0.0, color=GREY, linewidth=0.5, zorder=0)
