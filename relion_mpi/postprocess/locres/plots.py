"""Local resolution as pictures: a histogram, and slices coloured by resolution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from relion_mpi.io.atomic import replacing
from relion_mpi.plots.style import GREY, INK

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_N_BINS = 60
_COLOURS = "turbo"
_SHOWN = (2, 98)
"""Percentiles of the resolution between which colours run."""


def write_histogram(path: Path, values: NDArray[np.float32], title: str) -> None:
    """Draw how many voxels have which resolution.

    Parameters
    ----------
    path
        PNG to replace.
    values : float32 (n,), Angstrom
    title
        Above the plot.
    """
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    shares = np.full(values.size, 100.0 / values.size)
    low, high = float(values.min()), float(values.max())
    # All voxels may have one resolution.
    counts, edges = np.histogram(
        values, _N_BINS, range=(low, max(high, 1.01 * low)), weights=shares
    )
    colours = colormaps[_COLOURS](_norm(values)(0.5 * (edges[:-1] + edges[1:])))
    axis.bar(edges[:-1], counts, np.diff(edges), align="edge", color=colours)
    median = float(np.median(values))
    axis.axvline(median, color=INK, linewidth=1, ls="--", label=f"median {median:.2f} A")
    axis.set_title(title, fontsize=10)
    axis.set(xlabel="local resolution (A)", ylabel="voxels (%)")
    axis.legend(frameon=False, fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def write_slices(
    path: Path,
    filtered: NDArray[np.float32],
    resolution: NDArray[np.float32],
    counted: NDArray[np.bool_],
    title: str,
) -> None:
    """Draw central slices of the filtered map on white, in the colours of the resolution.

    Parameters
    ----------
    path
        PNG to replace.
    filtered, resolution : float32 (n, n, n)
    counted : bool (n, n, n)
        Voxels that are coloured; others are grey.
    title
        Above the plot.
    """
    figure = Figure(figsize=(10.2, 3.9), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3)
    middle = filtered.shape[0] // 2
    norm = _norm(resolution[counted])
    # In a map of mostly solvent the middle of the grey values is that of the solvent.
    low, high = np.percentile(filtered, (50, 99.7))
    for number, (axis, name) in enumerate(zip(axes, ("z", "y", "x"), strict=True)):
        density, local, inside = (
            np.take(one, middle, number) for one in (filtered, resolution, counted)
        )
        opacity = np.clip((density - low) / max(high - low, 1e-12), 0.0, 1.0)[..., None]
        colour = np.where(inside[..., None], colormaps[_COLOURS](norm(local))[..., :3], 0.5)
        axis.imshow(1.0 - opacity * (1.0 - colour), origin="lower", interpolation="nearest")
        axis.set_title(f"{name} = {middle}", fontsize=9, color=GREY)
        axis.set_axis_off()
    bar = figure.colorbar(ScalarMappable(norm, _COLOURS), ax=list(axes), shrink=0.85, pad=0.01)
    bar.set_label("local resolution (A)", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    figure.suptitle(title, fontsize=10)
    _save(figure, path)


def _norm(values: NDArray[np.float32]) -> Normalize:
    low, high = np.percentile(values, _SHOWN)
    return Normalize(float(low), float(max(high, low + 1e-3)), clip=True)


def _save(figure: Any, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
