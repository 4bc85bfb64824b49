"""Statistics of a column, in the log and as a picture."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from relion_mpi.core.errors import InputError
from relion_mpi.io.atomic import replacing

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from relion_mpi.star.options import StarOptions
    from relion_mpi.star.table import StarTable

log = logging.getLogger(__name__)

_FEWEST_BINS, _MOST_BINS = 10, 200
_INK, _FILL = "#1a202c", "#2b6cb0"


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many values lie where.

    Attributes
    ----------
    label : column
    edges : float64 (n_bin + 1,)
    height : float64 (n_bin,), rows or percent of them, of the bin or up to its end
    below, above : rows outside the edges
    """

    label: str
    edges: NDArray[np.float64]
    height: NDArray[np.float64]
    below: int
    above: int


def histogram(table: StarTable, options: StarOptions) -> Histogram:
    """Count the values of a column, and log what is to be said of them.

    Parameters
    ----------
    table
        Rows.
    options
        Column, bins and bounds.

    Returns
    -------
    Histogram

    Raises
    ------
    InputError
        There is no such column, no row, what is no number, or bounds that leave nothing.
    """
    assert options.hist_column is not None
    label = table.column(options.hist_column, "--hist_column").name
    values = table.numbers(label, "--hist_column")
    values = values[np.isfinite(values)]
    if not values.size:
        raise InputError(f"{table.path}: found no number in {label}, expected one or more")
    low, first, median, third, high = np.quantile(values, (0, 0.25, 0.5, 0.75, 1))
    log.info(
        "%s: %d rows, mean %.6g, standard deviation %.6g", label, values.size, values.mean(),
        values.std(),
    )  # fmt: skip
    log.info("min %.6g, quartiles %.6g, %.6g, %.6g, max %.6g", low, first, median, third, high)
    found = _counted(label, values, options)
    unit = " %" if options.in_percent else ""
    for left, right, height in zip(found.edges, found.edges[1:], found.height, strict=False):
        log.info("  %.6g to %.6g: %.6g%s", left, right, height, unit)
    if found.below or found.above:
        log.info("  %d rows below and %d above", found.below, found.above)
    return found


def _counted(label: str, values: NDArray[np.float64], options: StarOptions) -> Histogram:
    low = values.min() if options.hist_min is None else options.hist_min
    high = values.max() if options.hist_max is None else options.hist_max
    if low > high or (low == high and low not in values):
        raise InputError(
            f"--hist_min {low:g} and --hist_max {high:g}: expected the first one to be smaller"
        )
    inside = values[(values >= low) & (values <= high)]
    bins: int = options.hist_bins
    if bins <= 0:
        edges = np.histogram_bin_edges(inside, "fd") if inside.size else np.zeros(2)
        bins = int(np.clip(edges.size - 1, _FEWEST_BINS, _MOST_BINS))
    counts, edges = np.histogram(inside, bins, (low, high))
    height = counts.astype(np.float64)
    if options.show_cumulative:
        height = np.cumsum(height)
    if options.in_percent:
        height *= 100.0 / values.size
    return Histogram(
        label, edges, height, int((values < low).sum()), int((values > high).sum())
    )


def draw(path: Path, found: Histogram, options: StarOptions) -> None:
    """Draw a histogram.

    Parameters
    ----------
    path
        PNG to replace; its folder exists.
    found
        What to draw.
    options
        What its heights are.
    """
    figure = Figure(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.add_subplot()
    axis.stairs(found.height, found.edges, fill=True, color=_FILL)
    axis.set_xlabel(found.label, color=_INK)
    unit = "percent of the rows" if options.in_percent else "rows"
    axis.set_ylabel(f"{unit}, cumulative" if options.show_cumulative else unit, color=_INK)
    axis.margins(x=0.01)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
