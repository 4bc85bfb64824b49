"""Post-processing: FSC curves, Guinier plot, local resolution."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.plots.curves import draw_fsc, draw_guinier
from relion_mpi.plots.style import BLUE, GREY, new_axis, plain
from relion_mpi.report.panel import HEIGHT_INCH, WIDTH_INCH, Panel, plot_panel

if TYPE_CHECKING:
    from relion_mpi.report.gather.run import Run

N_BINS = 60


def masked_fsc_panel(run: Run) -> Panel | None:
    """Draw the curves of a post-processing."""
    if run.sharpened is None or not run.sharpened.fsc:
        return None
    axis = new_axis(WIDTH_INCH, HEIGHT_INCH + 0.3)
    pixel_size = 0.5 / float(run.sharpened.frequency[-1])
    draw_fsc(axis, run.sharpened.fsc, pixel_size, (0.143, 0.5))
    return plot_panel(
        "postfsc", "FSC after post-processing", axis.figure,
        "The corrected curve gives the resolution, at 0.143. The one of random phases is what the "
        "mask alone makes: it should be near 0 where the resolution is read off.",
    )  # fmt: skip


def guinier_panel(run: Run) -> Panel | None:
    """Draw the Guinier plot of a post-processing."""
    found = run.sharpened
    if found is None or not found.guinier:
        return None
    axis = new_axis(WIDTH_INCH, HEIGHT_INCH + 0.3)
    draw_guinier(axis, found.squared_frequency, found.guinier, found.fit)
    return plot_panel(
        "guinier", "Guinier plot", axis.figure,
        f"Amplitudes by resolution, before and after sharpening by B = {found.bfactor:.0f} Å². "
        "The sharpened curve should be about level up to the resolution; one that rises is "
        "sharpened too much.",
    )  # fmt: skip


def local_resolution_panel(run: Run) -> Panel | None:
    """Draw the histogram of local resolutions."""
    if run.local_resolution is None:
        return None
    name, values = run.local_resolution
    low, high = np.percentile(values, (0.2, 99.0))
    axis = new_axis(WIDTH_INCH, HEIGHT_INCH)
    axis.hist(values, bins=np.linspace(low, max(high, low + 0.1), N_BINS), color=BLUE)
    median = float(np.median(values))
    axis.axvline(median, color=GREY, linewidth=1.0, ls="--")
    axis.annotate(f" median {median:.2f} Å", (median, 1.0), xycoords=("data", "axes fraction"),
                  color=GREY, fontsize=8, va="bottom")  # fmt: skip
    axis.set(xlabel="local resolution (Å)", ylabel="voxels")
    plain(axis)
    return plot_panel(
        "locres", "Local resolution", axis.figure,
        f"Voxels of {name} by resolution. A narrow hump is a rigid particle; a long tail to the "
        "right is what moves, or is not always there.",
    )  # fmt: skip
