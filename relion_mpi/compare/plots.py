"""A comparison as one picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.io.atomic import replacing
from relion_mpi.plots.curves import fsc_limits
from relion_mpi.plots.style import (
    BLUE,
    COLOURS,
    GREY,
    ORANGE,
    legend,
    new_figure,
    plain,
    resolution_axis,
    thresholds,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from relion_mpi.compare.maps import MapComparison
    from relion_mpi.compare.poses import PoseComparison
    from relion_mpi.compare.program import Comparison

MOST_POINTS = 4000
N_BINS = 50


def write_plot(result: Comparison, path: Path) -> None:
    """Draw histograms of errors, Pmax and the FSC curves.

    Parameters
    ----------
    result
        What was compared.
    path
        PNG to write.
    """
    n_panels = (3 if result.poses is not None else 0) + (1 if result.maps else 0)
    rows, columns = (2, 2) if n_panels > 2 else (1, max(n_panels, 1))
    figure = new_figure(5.2 * columns, 3.9 * rows + 0.4)
    figure.suptitle(f"A: {_short(result.a.name)}     B: {_short(result.b.name)}", fontsize=11)
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    if result.poses is not None:
        _angles(axes.pop(0), result.poses)
        _shifts(axes.pop(0), result.poses)
        _weights(axes.pop(0), result.poses)
    if result.maps:
        _fsc(axes.pop(0), result.maps)
    for unused in axes:
        unused.set_axis_off()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")


def _short(name: str) -> str:
    return name if len(name) <= 45 else f"...{name[-42:]}"


def _median_line(axis: Any, median: float, unit: str) -> None:
    axis.axvline(median, color=ORANGE, linewidth=1.5)
    axis.annotate(
        f" median {median:.3g} {unit}", (median, 0.97), xycoords=("data", "axes fraction"),
        color=ORANGE, va="top", fontsize=9,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5},
    )  # fmt: skip


def _angles(axis: Any, poses: PoseComparison) -> None:
    """Angular errors span decades: wrong poses would squeeze the right ones into one bin."""
    floor = 0.01
    errors = np.clip(poses.angle_error_deg, floor, 180.0)
    low = max(floor, float(np.percentile(errors, 0.5)) / 1.5)
    edges = np.geomspace(low, max(float(errors.max()), 2.0 * low), N_BINS + 1)
    axis.hist(np.clip(errors, edges[0], edges[-1]), bins=edges, color=BLUE)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    _median_line(axis, float(np.median(errors)), "deg")
    one, two, five = poses.within
    axis.set_title(f"within 1, 2, 5 deg: {one:.1%}, {two:.1%}, {five:.1%}", fontsize=10)
    axis.set_xlabel("angular error (deg)")
    axis.set_ylabel("particles")
    plain(axis)


def _shifts(axis: Any, poses: PoseComparison) -> None:
    errors = poses.shift_error_angst
    top = float(np.percentile(errors, 99.0)) * 1.15 + 1e-6
    edges = np.linspace(0.0, top, N_BINS + 1)
    axis.hist(errors, bins=edges, color=BLUE)
    _median_line(axis, poses.median_shift_angst, "A")
    beyond = float((errors > top).mean())
    text = "origins" if beyond == 0 else f"origins ({beyond:.1%} beyond the axis)"
    axis.set_title(text, fontsize=10)
    axis.set_xlabel("shift error (A)")
    axis.set_ylabel("particles")
    plain(axis)


def _weights(axis: Any, poses: PoseComparison) -> None:
    """Pmax of A against Pmax of B, or against the error where only one side has it."""
    a, b = poses.max_value_prob
    plain(axis)
    if a is None and b is None:
        axis.set_axis_off()
        axis.text(0.5, 0.5, "no Pmax in either table", ha="center", color=GREY)
        return
    only = a if a is not None else b
    assert only is not None
    chosen = _sample(only.size)
    error = np.maximum(poses.angle_error_deg, 1e-2)[chosen]
    if a is not None and b is not None:
        points = axis.scatter(
            a[chosen], b[chosen], c=np.log10(error), s=5, cmap="viridis", vmin=-1, vmax=2,
            linewidths=0,
        )  # fmt: skip
        bar = axis.figure.colorbar(points, ax=axis, pad=0.02, ticks=[-1, 0, 1, 2])
        bar.ax.set_yticklabels(["0.1", "1", "10", "100"], fontsize=8)
        bar.set_label("angular error (deg)", fontsize=9)
        axis.set(xlabel="Pmax in A", ylabel="Pmax in B", xlim=(0, 1.02), ylim=(0, 1.02))
        axis.set_title(f"mean Pmax: A {a.mean():.3f}, B {b.mean():.3f}", fontsize=10)
        return
    side = "A" if a is not None else "B"
    axis.scatter(only[chosen], error, s=5, color=BLUE, alpha=0.4, linewidths=0)
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.set(xlabel=f"Pmax in {side}", ylabel="angular error (deg)", xlim=(0, 1.02))
    axis.set_title(f"mean Pmax: {only.mean():.3f}", fontsize=10)


def _sample(n: int) -> NDArray[np.int64]:
    return np.random.default_rng(0).permutation(n)[:MOST_POINTS]


def _fsc(axis: Any, maps: tuple[tuple[int, int, MapComparison], ...]) -> None:
    for (k, k_b, one), colour in zip(maps, COLOURS * len(maps), strict=False):
        frequency = np.arange(one.fsc_after.size) / (one.box_size * one.pixel_size_angst)
        name = f"class {k} / {k_b}" if len(maps) > 1 else "aligned"
        label = f"{name}: {one.resolution_after_angst[0]:.2f} A"
        axis.plot(frequency, one.fsc_after, color=colour, linewidth=1.8, label=label)
        before = None if len(maps) > 1 else f"as given: {one.resolution_before_angst[0]:.2f} A"
        axis.plot(frequency, one.fsc_before, color=colour, linewidth=1, ls=":", label=before)
    thresholds(axis, (0.143, 0.5))
    axis.set(ylim=fsc_limits([one.fsc_after for _, _, one in maps]), ylabel="FSC")
    resolution_axis(axis, 0.5 / maps[0][2].pixel_size_angst)
    axis.set_title("maps of A and B, resolution at FSC 0.143", fontsize=10)
    legend(axis)
    plain(axis)
