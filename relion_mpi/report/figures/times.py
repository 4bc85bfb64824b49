"""Where the time went: stages of iterations, and ranks in the last one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from relion_mpi.plots.style import BLUE, COLOURS, GREY, ORANGE, RULE, legend, new_axis, plain
from relion_mpi.report.gather.course import STAGES
from relion_mpi.report.panel import HEIGHT_INCH, WIDTH_INCH, Panel, plot_panel

if TYPE_CHECKING:
    from relion_mpi.report.gather.run import Run

RANK_SPANS = {
    "work": "work", "images": "waiting for images", "idle": "idle", "network": "other ranks",
}  # fmt: skip
MOST_RANKS = 32


def stages_panel(run: Run) -> Panel | None:
    """Draw the seconds of each stage as one bar an iteration."""
    moments = [moment for moment in run.course if moment.seconds]
    if not moments:
        return None
    last = max((m.iteration for m in moments if m.iteration is not None), default=0)
    x = [last + 1 if m.iteration is None else m.iteration for m in moments]
    axis = new_axis(WIDTH_INCH, HEIGHT_INCH)
    gap = min(np.diff(sorted(x)), default=1)
    bottom = np.zeros(len(moments))
    for stage, colour in zip(STAGES, (*COLOURS, GREY), strict=True):
        seconds = np.array([moment.seconds.get(stage, 0.0) for moment in moments])
        if seconds.sum() > 0.01 * sum(sum(m.seconds.values()) for m in moments):
            axis.bar(x, seconds, 0.8 * gap, bottom, color=colour, label=stage)
            bottom += seconds
    axis.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    axis.set(xlabel="iteration", ylabel="seconds")
    legend(axis, ncols=2)
    plain(axis)
    return plot_panel(
        "stages", "Time by stage", axis.figure,
        "Wall time of each iteration. Most of it should be the E-step, which more ranks or GPUs "
        "make shorter; a large share of M-step or write does not become shorter with them.",
    )  # fmt: skip


def ranks_panel(run: Run) -> Panel | None:
    """Draw what each worker did in the last iteration."""
    ranks = next((moment.ranks for moment in reversed(run.course) if moment.ranks), None)
    if not ranks:
        return None
    names = sorted(ranks, key=int)[:MOST_RANKS]
    axis = new_axis(WIDTH_INCH, HEIGHT_INCH)
    left = np.zeros(len(names))
    for (span, label), colour in zip(RANK_SPANS.items(), (BLUE, ORANGE, RULE, GREY), strict=True):
        seconds = np.array([ranks[name].get(span, 0.0) for name in names])
        axis.barh(names, seconds, 0.72, left, color=colour, label=label)
        left += seconds
    axis.set(xlabel="seconds", ylabel="rank")
    axis.invert_yaxis()
    legend(axis, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    plain(axis)
    return plot_panel(
        "ranks", "Time by rank", axis.figure,
        "What each worker did in the last iteration. Bars should be nearly all work; much waiting "
        "for images is a slow disk, much idling a shortage of batches or, if all but one idle, a "
        "slow node; waiting for other ranks and moving sums is what the network and rank 0 cost.",
    )  # fmt: skip
