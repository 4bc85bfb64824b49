"""Curve and slice of every iteration behind a slider."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.plots.images import grey_uri
from relion_mpi.plots.style import BLUE, new_axis, plain, resolution_axis, thresholds
from relion_mpi.plots.svg import inline_svg
from relion_mpi.report.panel import Panel, image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.report.gather.history import Step
    from relion_mpi.report.gather.run import Run

NAME = "course"
SECTION_PIX = 288
WIDTH_INCH, HEIGHT_INCH = 4.8, 3.1
HIGHEST_SSNR, LOWEST_SSNR = 1e4, 1e-2


def course_panel(run: Run) -> Panel | None:
    """Draw FSC curves, or signal-to-noise ratios of the largest class, of all iterations."""
    if not run.steps:
        return None
    axis = new_axis(WIDTH_INCH, HEIGHT_INCH)
    if run.has_halves:
        title, caption = _draw_fsc(axis, run)
    else:
        title, caption = _draw_ssnr(axis, run)
    plain(axis)
    last = len(run.steps) - 1
    items = "".join(
        f'<li data-step="{i}"{" class=on" if i == last else ""}>{escape(_line(run, step))}</li>'
        for i, step in enumerate(run.steps)
    )
    slider = (
        f'<label class="slider">iteration<input type="range" min="0" max="{last}" value="{last}" '
        f'aria-label="iteration"></label>'
        if last
        else ""
    )
    body = (
        f'<div class="course" data-course>{slider}<ul class="readout">{items}</ul>'
        f'<div class="pair"><div class="plot">{inline_svg(axis.figure, NAME)}</div>'
        f'<div class="sections">{_sections(run)}</div></div></div>'
    )
    return Panel(NAME, title, body, caption, wide=True)


def _draw_fsc(axis: Any, run: Run) -> tuple[str, str]:
    curves = [step.fsc for step in run.steps]
    _draw(axis, run, curves)
    thresholds(axis, (0.143, 0.5))
    axis.set(ylim=(-0.12, 1.03), ylabel="FSC")
    return "Iteration by iteration: FSC and map", (
        "Fourier shell correlation of the half-maps and the central slice. A good curve stays near "
        "1, falls once, and stays around 0 after; the resolution is where it falls below 0.143. "
        "These are the curves of the run itself: a mask's share in them is only known after "
        "post-processing."
    )


def _draw_ssnr(axis: Any, run: Run) -> tuple[str, str]:
    largest = int(np.argmax(run.steps[-1].shares))
    curves = [
        np.clip(step.ssnr[min(largest, step.n_class - 1)], LOWEST_SSNR, HIGHEST_SSNR)
        for step in run.steps
    ]
    curves = [np.where(curve > LOWEST_SSNR, curve, np.nan) for curve in curves]
    _draw(axis, run, curves)
    axis.set_yscale("log")
    axis.set(ylim=(LOWEST_SSNR, HIGHEST_SSNR), ylabel="signal-to-noise ratio")
    thresholds(axis, (1.0,))
    return f"Iteration by iteration: class {largest + 1}", (
        "Signal-to-noise ratio of the largest class and its central slice. The resolution is where "
        "the curve falls below 1; it should move to the right from iteration to iteration."
    )


def _draw(axis: Any, run: Run, curves: list[NDArray[np.float64] | None]) -> None:
    last = 0.5 / run.steps[-1].pixel_size_angst
    for i, curve in enumerate(curves):
        if curve is None:
            continue
        frequency = np.linspace(0.0, last, curve.size)
        (line,) = axis.plot(frequency[1:], curve[1:], color=BLUE, linewidth=1.2)
        line.set_gid(f"step-{i}")
    resolution_axis(axis, last)


def _line(run: Run, step: Step) -> str:
    """Say in a line what the slider stands at."""
    number = "final" if step.iteration is None else f"iteration {step.iteration}"
    parts = [number]
    if np.isfinite(step.resolution_angst):
        parts.append(f"{step.resolution_angst:.2f} Å")
    parts += [f"images of {step.current_size} px", f"Pmax {step.ave_pmax:.2f}"]
    steps = {m.iteration: m.fine_step_deg for m in run.course}
    if (angle := steps.get(step.iteration)) is not None and not step.is_planar:
        parts.append(f"steps of {angle:.3g}°")
    return " · ".join(parts)


def _sections(run: Run) -> str:
    """Return the slices; an iteration whose own is not kept shows that of one before it."""
    shown: int | None = None
    images: list[tuple[str, list[int]]] = []
    for i, step in enumerate(run.steps):
        if step.iteration in run.sections:
            shown = len(images)
            picture = image(
                grey_uri(run.sections[step.iteration], SECTION_PIX),
                f"central slice, iteration {step.iteration}", "grain",
            )  # fmt: skip
            images.append((picture, []))
        if shown is not None:
            images[shown][1].append(i)
    last = len(run.steps) - 1
    return "".join(
        f'<span data-steps="{" ".join(map(str, steps))}"{" class=on" if last in steps else ""}>'
        f"{picture}</span>"
        for picture, steps in images
    )
