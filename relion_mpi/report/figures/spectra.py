"""Spectra of noise and signal of the last iteration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.plots.style import COLOURS, GREY, legend, new_axis, plain, resolution_axis
from relion_mpi.report.panel import HEIGHT_INCH, WIDTH_INCH, Panel, plot_panel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.report.gather.history import Step
    from relion_mpi.report.gather.run import Run

MOST_NAMED = 6
DECADES = 6.0


def noise_panel(run: Run) -> Panel | None:
    """Draw the noise spectra of the optics groups."""
    if run.last is None or not run.last.noise.size:
        return None
    axis = new_axis(WIDTH_INCH, HEIGHT_INCH)
    noise = run.last.noise
    for g, spectrum in enumerate(noise):
        name = f"optics group {g + 1}" if 1 < len(noise) <= MOST_NAMED else None
        _draw(axis, run.last, spectrum, COLOURS[g % len(COLOURS)], name)
    _finish(axis, run.last, "power of the noise", bool(1 < len(noise) <= MOST_NAMED))
    return plot_panel(
        "noise", "Noise", axis.figure,
        "Power of the noise by resolution, a curve for each optics group. It should fall smoothly; "
        "a rise at the right or groups that differ by far are worth a look at the micrographs.",
    )  # fmt: skip


def signal_panel(run: Run) -> Panel | None:
    """Draw signal-to-noise ratios of the classes."""
    last = run.last
    if last is None:
        return None
    axis = new_axis(WIDTH_INCH, HEIGHT_INCH)
    order = np.argsort(-last.shares, kind="stable")
    for rank, k in enumerate(order):
        named = 1 < last.n_class and rank < MOST_NAMED
        colour = COLOURS[rank] if rank < MOST_NAMED else GREY
        name = f"class {k + 1}" if named else None
        _draw(axis, last, np.where(last.ssnr[k] < 999, last.ssnr[k], np.nan), colour, name)
    axis.axhline(1.0, color=GREY, linewidth=0.8, ls="--", zorder=0)
    _finish(axis, last, "signal-to-noise ratio", last.n_class > 1)
    return plot_panel(
        "signal", "Signal", axis.figure,
        "Signal-to-noise ratio of the map by resolution. What lies above 1 carries more signal "
        "than noise; it should fall steadily, without a second hill.",
    )  # fmt: skip


def _draw(
    axis: Any, step: Step, spectrum: NDArray[np.float64], colour: str, name: str | None
) -> None:
    frequency = np.arange(spectrum.size) / step.box_angst
    there = np.where(spectrum > 0, spectrum, np.nan)
    axis.plot(frequency[1:], there[1:], color=colour, linewidth=1.5, label=name)


def _finish(axis: Any, step: Step, label: str, named: bool) -> None:
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    axis.set_ylim(max(low, high / 10**DECADES), high)
    axis.set_ylabel(label)
    resolution_axis(axis, 0.5 / step.pixel_size_angst)
    if named:
        legend(axis, ncols=2)
    plain(axis)
