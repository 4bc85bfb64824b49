"""How a run came to where it is: curves over iterations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from relion_mpi.plots.style import BLUE, GREEN, GREY, ORANGE, PURPLE, legend, new_axis, plain
from relion_mpi.report.panel import HEIGHT_INCH, WIDTH_INCH, Panel, plot_panel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relion_mpi.report.gather.run import Run

LINE = {"marker": "o", "markersize": 3.5, "linewidth": 1.6}


def places(run: Run) -> list[int]:
    """Return the place of each iteration on the x axis; the final one comes after the last."""
    numbers = [step.iteration for step in run.steps]
    last = max((n for n in numbers if n is not None), default=-1)
    return [last + 1 if n is None else n for n in numbers]


def resolution_panel(run: Run) -> Panel | None:
    """Draw the resolution of each iteration, with Nyquist's limit."""
    if len(run.steps) < 2:
        return None
    axis = _axis()
    best = [step.resolution_angst for step in run.steps]
    if run.has_halves or run.steps[-1].n_class == 1:
        axis.plot(places(run), _finite(best), color=BLUE, **LINE)
    else:
        for k in range(run.steps[-1].n_class):
            values = [_of_class(step.class_resolution_angst, k) for step in run.steps]
            axis.plot(places(run), _finite(values), color=GREY, linewidth=0.8, alpha=0.6)
        axis.plot(places(run), _finite(best), color=BLUE, label="best class", **LINE)
        legend(axis)
    nyquist = 2.0 * run.steps[-1].pixel_size_angst
    axis.axhline(nyquist, color=GREY, linewidth=0.8, ls="--", zorder=0)
    axis.annotate(" Nyquist", (1.0, nyquist), xycoords=("axes fraction", "data"), color=GREY,
                  fontsize=8, va="center")  # fmt: skip
    axis.set_ylim(bottom=0)
    return _panel(
        run, axis, "resolution", "Resolution", "resolution (Å)",
        "The current resolution by iteration; lower is better. A good run falls in steps and then "
        "levels out. A line that ends at Nyquist is limited by the pixel size.",
    )  # fmt: skip


def pmax_panel(run: Run) -> Panel | None:
    """Draw the mean Pmax of each iteration."""
    if len(run.steps) < 2:
        return None
    axis = _axis()
    axis.plot(places(run), _finite([step.ave_pmax for step in run.steps]), color=GREEN, **LINE)
    axis.set_ylim(0, 1.03)
    return _panel(
        run, axis, "pmax", "Certainty of poses", "mean Pmax",
        "Mean probability of each particle's best pose. 1 means one pose fits far better than all "
        "others on the grid. It falls when the grid becomes finer; it should rise again after.",
    )  # fmt: skip


def accuracy_panel(run: Run) -> Panel | None:
    """Draw expected accuracies and the angular step."""
    angles = [step.accuracy_rotation_deg for step in run.steps]
    shifts = [step.accuracy_translation_angst for step in run.steps]
    if len(run.steps) < 2 or not any(angles):
        return None
    axis = _axis()
    axis.plot(places(run), _finite(angles), color=PURPLE, label="orientations (°)", **LINE)
    axis.plot(places(run), _finite(shifts), color=ORANGE, label="offsets (Å)", **LINE)
    steps = {moment.iteration: moment.fine_step_deg for moment in run.course}
    if steps and not run.is_planar:
        grid = _finite([steps.get(step.iteration) for step in run.steps])
        axis.step(places(run), grid, where="mid", color=GREY, linewidth=1.0, ls="--",
                  label="angular step (°)", zorder=0)  # fmt: skip
    axis.set_ylim(bottom=0)
    legend(axis)
    return _panel(
        run, axis, "accuracy", "Expected accuracy", "degrees or Å",
        "How far poses can be off before the fit of a particle suffers. Lower is better; near the "
        "end orientations should be known to about the angular step.",
    )  # fmt: skip


def changes_panel(run: Run) -> Panel | None:
    """Draw how much poses, or classes, still change."""
    moments = [m for m in run.course if m.changes_orientations_deg is not None and m.iteration != 0]
    # of mini-batches, few particles were looked at in the iteration before
    if len(moments) < 2 or run.origin.is_mini_batch:
        return None
    last = max(m.iteration or 0 for m in moments)
    x = [last + 1 if m.iteration is None else m.iteration for m in moments]
    axis = _axis()
    if run.has_halves or run.steps[-1].n_class == 1:
        turned = [m.changes_orientations_deg for m in moments]
        moved = [m.changes_offsets_angst for m in moments]
        axis.plot(x, _finite(turned), color=PURPLE, label="orientations (°)", **LINE)
        axis.plot(x, _finite(moved), color=ORANGE, label="offsets (Å)", **LINE)
        legend(axis)
        y_label, what = "mean change", "poses"
    else:
        changed = [100.0 * (m.changes_classes or 0.0) for m in moments]
        axis.plot(x, changed, color=PURPLE, **LINE)
        y_label, what = "particles (%)", "classes"
    axis.set_ylim(bottom=0)
    return _panel(
        run, axis, "changes", f"Changes of {what}", y_label,
        f"How much {what} of particles changed since the iteration before. It should fall and "
        "level out: what still changes a lot at the end has not settled.",
    )  # fmt: skip


def _axis() -> Any:
    axis = new_axis(WIDTH_INCH, HEIGHT_INCH)
    axis.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    return axis


def _panel(run: Run, axis: Any, name: str, title: str, y_label: str, caption: str) -> Panel:
    axis.set_xlabel("iteration; the last joins the half-sets" if _joins(run) else "iteration")
    axis.set_ylabel(y_label)
    plain(axis)
    return plot_panel(name, title, axis.figure, caption)


def _joins(run: Run) -> bool:
    return run.has_halves and run.steps[-1].iteration is None


def _of_class(values: Any, k: int) -> float:
    return float(values[k]) if k < len(values) else np.nan


def _finite(values: Sequence[float | None]) -> list[float]:
    """Return values with NaN, which leaves a gap, for those that are missing or stand for none."""
    return [v if v is not None and np.isfinite(v) and v < 999 else np.nan for v in values]
