"""The classes of a classification: their pictures and sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from relion_mpi.plots.images import colour_uri, grey_uri
from relion_mpi.plots.montage import central_slices
from relion_mpi.plots.style import COLOURS, INK, new_axis, plain
from relion_mpi.report.contour import Contour
from relion_mpi.report.figures.progress import places
from relion_mpi.report.panel import HEIGHT_INCH, WIDTH_INCH, Panel, image, plot_panel

if TYPE_CHECKING:
    from relion_mpi.report.gather.run import Run

TILE_PIX, SURFACE_PIX = 144, 224
MOST_TILES = 200


def classes_panel(run: Run) -> Panel | None:
    """Show every class with its share and resolution, the largest first."""
    last = run.last
    if last is None or (last.n_class < 2 and not last.is_planar):
        return None
    order = np.argsort(-last.shares, kind="stable")[:MOST_TILES]
    tiles = "".join(_tile(run, int(k)) for k in order)
    if last.is_planar:
        caption = (
            "Averages, the largest class first. Good ones are sharp and show features inside the "
            "particle; blurred ones and those that look alike but small are to be left out."
        )
    else:
        caption = (
            "Surface and central slices of each class, the largest first. Classes should differ in "
            "something that makes sense; a small one of low resolution gathers bad particles."
        )
    return Panel("classes", "Classes", f'<div class="tiles">{tiles}</div>', caption, wide=True)


def shares_panel(run: Run) -> Panel | None:
    """Draw the shares of classes over iterations."""
    last = run.last
    if last is None or last.n_class < 2 or len(run.steps) < 2:
        return None
    steps = [step for step in run.steps if step.n_class == last.n_class]
    x = places(run)[-len(steps) :]
    shares = 100.0 * np.array([step.shares for step in steps]).T
    axis = new_axis(WIDTH_INCH, HEIGHT_INCH)
    colours = [COLOURS[k % len(COLOURS)] for k in range(last.n_class)]
    axis.stackplot(x, shares, colors=colours, alpha=0.75, linewidth=0.6, edgecolor="white")
    height = np.cumsum(shares[:, -1]) - shares[:, -1] / 2
    for k in np.flatnonzero(shares[:, -1] > 4.0):
        axis.annotate(f" {k + 1}", (x[-1], height[k]), color=INK, fontsize=8, va="center")
    axis.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    axis.set(xlim=(x[0], x[-1]), ylim=(0, 100), xlabel="iteration", ylabel="particles (%)")
    plain(axis)
    return plot_panel(
        "shares", "Sizes of classes", axis.figure,
        "Share of the particles in each class, numbered at the right. Sizes should settle; a class "
        "that swallows all others leaves nothing sorted.",
    )  # fmt: skip


def _tile(run: Run, k: int) -> str:
    last = run.last
    assert last is not None
    resolution = last.class_resolution_angst[k]
    text = f"{100 * last.shares[k]:.1f}&nbsp;%"
    if np.isfinite(resolution) and resolution < 999:
        text += f" · {resolution:.1f}&nbsp;Å"
    picture = ""
    if run.averages is not None and k < len(run.averages):
        picture = image(grey_uri(run.averages[k], TILE_PIX), f"average of class {k + 1}", "grain")
    elif k < len(run.maps) and (volume := run.maps[k]) is not None:
        contour = Contour.of(volume, last, k)
        if contour is not None:
            views = contour.views(SURFACE_PIX, 1)
            picture = image(colour_uri(views[0]), f"surface of class {k + 1}", "surface")
        slices = central_slices(volume.data.astype(np.float64))
        picture += image(grey_uri(slices, TILE_PIX), f"slices of class {k + 1}", "grain strip")
    return (
        f'<figure class="tile"><div>{picture}</div><figcaption><b>{k + 1}</b> {text}</figcaption>'
        "</figure>"
    )
