"""Where particles are seen from, on a map of the sphere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import Normalize
from scipy.spatial import cKDTree

from relion_mpi.geometry import healpix
from relion_mpi.geometry.euler import directions
from relion_mpi.plots.style import GREY, INK, new_axis
from relion_mpi.report.panel import HEIGHT_INCH, WIDTH_INCH, Panel, plot_panel

if TYPE_CHECKING:
    from matplotlib.image import AxesImage
    from numpy.typing import NDArray

    from relion_mpi.report.gather.run import Run

SMOOTH_DEG = 4.0
WIDTH_PIX, HEIGHT_PIX = 480, 240
MOST_TIMES_EVEN = 5.0


def views_panel(run: Run) -> Panel | None:
    """Draw the density of views in Mollweide's projection."""
    if run.views is None:
        return None
    axis = new_axis(WIDTH_INCH, HEIGHT_INCH)
    density = mollweide(run.views.counts)
    highest = float(np.clip(np.nanmax(density), 2.0, MOST_TIMES_EVEN))
    picture = axis.imshow(
        density, extent=(-2, 2, -1, 1), cmap="cividis", norm=Normalize(0, highest),
        interpolation="nearest",
    )  # fmt: skip
    _graticule(axis)
    _scale(axis, picture)
    axis.set(xlim=(-2.03, 2.03), ylim=(-1.03, 1.03), aspect="equal")
    axis.set_axis_off()
    return plot_panel("views", "Directions of view", axis.figure, _caption(run))


def mollweide(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map the density of views to a picture on which equal areas are equal.

    Parameters
    ----------
    counts : float64 (n_pix,)
        Views by HEALPix pixel (NESTED).

    Returns
    -------
    float64 (HEIGHT_PIX, WIDTH_PIX)
        Times the density of even coverage, a little smoothed; z is up, x in the middle; NaN
        outside the sphere.
    """
    order = round(np.log2(len(counts) / 12) / 2)
    centres = directions(*healpix.pixel_angles(order))
    y, x = np.meshgrid(
        1.0 - (np.arange(HEIGHT_PIX) + 0.5) * 2 / HEIGHT_PIX,
        -2.0 + (np.arange(WIDTH_PIX) + 0.5) * 4 / WIDTH_PIX, indexing="ij",
    )  # fmt: skip
    inside = x**2 / 4 + y**2 < 1
    theta = np.arcsin(y[inside])
    latitude = np.arcsin((2 * theta + np.sin(2 * theta)) / np.pi)
    longitude = np.pi * x[inside] / (2 * np.cos(theta))
    points = directions(np.degrees(longitude), 90.0 - np.degrees(latitude))
    total = max(float(counts.sum()), 1.0)
    smooth = _smoothed(centres, counts) * len(counts) / total
    picture = np.full(x.shape, np.nan)
    distance, index = cKDTree(centres).query(points, k=4)
    weight = 1.0 / np.maximum(distance, 1e-6) ** 2
    picture[inside] = (smooth[index] * weight).sum(axis=1) / weight.sum(axis=1)
    return picture


def _smoothed(centres: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spread each count over its neighbourhood, so that few particles make no speckle."""
    sigma = np.radians(SMOOTH_DEG)
    near = cKDTree(centres).query_ball_point(centres, 3 * sigma)
    smooth = np.empty(len(counts))
    for i, index in enumerate(near):
        weight = np.exp(-0.5 * ((centres[index] - centres[i]) ** 2).sum(axis=1) / sigma**2)
        smooth[i] = (weight * counts[index]).sum() / weight.sum()
    return smooth


def _graticule(axis: Any) -> None:
    angle = np.linspace(0, 2 * np.pi, 181)
    axis.plot(2 * np.cos(angle), np.sin(angle), color=GREY, linewidth=0.8)
    theta = np.linspace(-np.pi / 2, np.pi / 2, 61)
    for longitude in (-0.5, 0.0, 0.5):
        axis.plot(2 * longitude * np.cos(theta), np.sin(theta), color=GREY, linewidth=0.4)
    for height in (-0.6, 0.0, 0.6):
        half = 2 * np.sqrt(1 - height**2)
        axis.plot([-half, half], [height, height], color=GREY, linewidth=0.4)
    axis.annotate("z", (0, 1.03), ha="center", va="bottom", fontsize=8, color=INK,
                  annotation_clip=False)  # fmt: skip


def _scale(axis: Any, picture: AxesImage) -> None:
    bar = axis.figure.colorbar(picture, ax=axis, orientation="horizontal", shrink=0.6, aspect=35,
                          pad=0.03, extend="max")  # fmt: skip
    bar.set_label("times the even density", fontsize=9, color=INK)
    bar.ax.tick_params(labelsize=8, color=GREY, labelcolor=INK)
    bar.outline.set_visible(False)


def _caption(run: Run) -> str:
    assert run.views is not None
    worth = run.views.coverage
    if not run.views.is_known:
        return (
            "Directions of view as the table has them; equal areas are equal. The files do not "
            "name the point group: give it with --sym to judge the coverage."
        )
    turned = "" if run.views.symmetry == "C1" else f", repeated by {run.views.symmetry}"
    return (
        f"Directions of view{turned}; equal areas are equal. Efficiency of coverage "
        f"{worth.efficiency:.2f}, sampling compensation factor {worth.sampling_factor:.2f}: 1 is "
        "even, below 0.8 and 0.5 the map is better resolved in some directions than in others."
    )
