"""The few figures that matter, for the top of the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.core.progress import clock

if TYPE_CHECKING:
    from relion_mpi.report.gather.run import Run


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure.

    Attributes
    ----------
    label : what it is
    value : with its unit
    detail : a few words more
    """

    label: str
    value: str
    detail: str = ""


def title_of(run: Run) -> str:
    """Say what kind of run it is."""
    last = run.last
    if last is None:
        return "Post-processing"
    if last.is_planar:
        return "2D classification"
    if "initialmodel" in run.origin.command_line or "--denovo_3dref" in run.origin.command_line:
        return "Initial model"
    return "3D refinement" if last.fsc is not None else "3D classification"


def figures_of(run: Run) -> list[Figure]:
    """Choose the figures of a run."""
    found = [_resolution(run)]
    if run.particles is not None:
        found.append(_particles(run))
    if run.steps:
        found.append(_iterations(run))
    if run.last is not None and run.last.n_class > 1:
        largest = 100.0 * float(run.last.shares.max())
        found.append(Figure("classes", str(run.last.n_class), f"the largest has {largest:.0f} %"))
    if run.views is not None and run.views.is_known and run.steps:
        found.append(
            Figure("coverage", f"{run.views.coverage.efficiency:.2f}", "efficiency; 1 is even")
        )
    if run.sharpened is not None:
        found.append(Figure("sharpening", f"{run.sharpened.bfactor:.0f} Å²", "B-factor"))
    time = _time(run)
    return [*found, time] if time is not None else found


def _resolution(run: Run) -> Figure:
    if run.sharpened is not None:
        return Figure(
            "resolution", f"{run.sharpened.resolution_angst:.2f} Å", "FSC 0.143, post-processed"
        )
    last = run.last
    assert last is not None
    if not np.isfinite(last.resolution_angst):
        return Figure("resolution", "-", "none yet")
    what = "between half-sets" if last.fsc is not None else "best class, SNR 1"
    if last.resolution_angst <= 2.005 * last.pixel_size_angst:
        what = "Nyquist's limit"
    return Figure("resolution", f"{last.resolution_angst:.2f} Å", what)


def _particles(run: Run) -> Figure:
    assert run.particles is not None
    used = run.particles.n_particles - run.n_left_out
    detail = ""
    if (n := run.particles.n_micrographs) is not None and n > 1:
        detail = f"of {n:,} micrographs"
    if run.n_left_out:
        detail = f"{run.n_left_out:,} more left out"
    return Figure("particles", f"{used:,}", detail)


def _iterations(run: Run) -> Figure:
    numbers = [step.iteration for step in run.steps if step.iteration is not None]
    n = max(numbers, default=None)
    if run.steps[-1].iteration is None:
        value = "final" if n is None else str(n + 1)
        return Figure("iterations", value, "converged" if run.origin.has_converged else "complete")
    goal = run.origin.last_iteration
    shown = goal is not None and run.origin.is_auto is False and n != goal
    return Figure("iterations", str(n), f"of {goal}" if shown else "")


def _time(run: Run) -> Figure | None:
    """Return the time from the first files of iterations to the last."""
    times = [moment.written for moment in run.course if moment.written is not None]
    if not times:
        times = [file.stat().st_mtime for _, file in run.job.optimisers]
        times += [file.stat().st_mtime for n, files in run.job.models if n is None
                  for file in files]  # fmt: skip
    if len(times) < 2 or max(times) - min(times) < 1.0:
        return None
    seconds = max(times) - min(times)
    numbers = [step.iteration for step in run.steps if step.iteration is not None]
    each = seconds / max(max(numbers, default=0), 1)
    detail = f"{clock(each)} an iteration" if each >= 1.0 else f"{each:.1f} s an iteration"
    return Figure("time", clock(seconds), detail)
