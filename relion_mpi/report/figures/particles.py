"""Histograms of what each particle has of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.plots.style import BLUE, GREEN, GREY, ORANGE, PURPLE, new_axis, plain
from relion_mpi.report.panel import HEIGHT_INCH, WIDTH_INCH, Panel, plot_panel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.report.gather.run import Run

FEWEST_BINS, MOST_BINS = 16, 48
TAIL_PERCENT = 99.7


def pmax_histogram(run: Run) -> Panel | None:
    """Draw how certain the pose of each particle is."""
    if run.particles is None or run.particles.pmax is None:
        return None
    values = run.particles.pmax
    axis = _axis()
    axis.hist(values, bins=np.linspace(0, 1, _n_bins(values) + 1), color=GREEN)
    _median(axis, float(np.median(values)), "{:.2f}")
    return _panel(
        axis, "pmaxhist", "Pmax of particles", "probability of the best pose",
        "How sure the pose of each particle is. One hump is good; a second one near 0 is a group "
        "of particles that fit nowhere.",
    )  # fmt: skip


def defocus_histogram(run: Run) -> Panel | None:
    """Draw the mean defocus of each particle."""
    if run.particles is None or run.particles.defocus_angst is None:
        return None
    values = run.particles.defocus_angst.mean(axis=1) / 1e4
    axis = _axis()
    axis.hist(values, bins=_bins(values), color=BLUE)
    _median(axis, float(np.median(values)), "{:.2f} µm")
    return _panel(
        axis, "defocus", "Defocus", "underfocus (µm)",
        "Mean of the two defoci. A broad spread from about 0.5 to 2.5 µm fills the zeros of the "
        "contrast transfer functions; single values far away are wrong fits.",
    )  # fmt: skip


def shift_histogram(run: Run) -> Panel | None:
    """Draw the length of each particle's origin offset."""
    if run.particles is None or run.particles.shift_angst is None:
        return None
    values = np.hypot(*run.particles.shift_angst.T)
    axis = _axis()
    axis.hist(values, bins=_bins(values, 0.0), color=ORANGE)
    _median(axis, float(np.median(values)), "{:.1f} Å")
    return _panel(
        axis, "shifts", "Origin offsets", "length (Å)",
        "How far particles are from the centre of their boxes. One hump near 0 is good. A pile at "
        "the end means that the range of the search was too small, or picks are off.",
    )  # fmt: skip


def astigmatism_histogram(run: Run) -> Panel | None:
    """Draw the difference of the two defoci of each particle."""
    if run.particles is None or run.particles.defocus_angst is None:
        return None
    values = -np.diff(run.particles.defocus_angst, axis=1)[:, 0]
    if not values.any():
        return None
    axis = _axis()
    axis.hist(values, bins=_bins(values, 0.0), color=PURPLE)
    _median(axis, float(np.median(values)), "{:.0f} Å")
    return _panel(
        axis, "astigmatism", "Astigmatism", "difference of defoci (Å)",
        "A few hundred Å are usual. A long tail means wrong fits of contrast transfer functions, "
        "or an objective lens that needs its stigmator.",
    )  # fmt: skip


def _bins(values: NDArray[np.float64], low: float | None = None) -> NDArray[np.float64]:
    """Return edges that a few far values do not stretch; what is beyond goes uncounted."""
    first = float(np.nanpercentile(values, 100 - TAIL_PERCENT)) if low is None else low
    end = float(np.nanpercentile(values, TAIL_PERCENT))
    margin = 0.05 * (end - first) or 0.5
    begin = first if low is not None else max(first - margin, 0.0)
    return np.linspace(begin, end + margin, _n_bins(values) + 1)


def _n_bins(values: NDArray[np.float64]) -> int:
    """Return fewer bins for fewer particles, or bars tell of chance alone."""
    return int(np.clip(np.sqrt(values.size), FEWEST_BINS, MOST_BINS))


def _axis() -> Any:
    return new_axis(WIDTH_INCH, HEIGHT_INCH)


def _median(axis: Any, value: float, form: str) -> None:
    axis.axvline(value, color=GREY, linewidth=1.0, ls="--")
    to_the_left = value > float(np.mean(axis.get_xlim()))
    axis.annotate(
        f" median {form.format(value)} ", (value, 1.0), xycoords=("data", "axes fraction"),
        color=GREY, fontsize=8, va="bottom", ha="right" if to_the_left else "left",
    )  # fmt: skip


def _panel(axis: Any, name: str, title: str, x_label: str, caption: str) -> Panel:
    axis.set(xlabel=x_label, ylabel="particles")
    plain(axis)
    return plot_panel(name, title, axis.figure, caption)
