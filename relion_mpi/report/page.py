"""The page: one HTML file that needs nothing else."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from html import escape
from importlib import resources
from typing import TYPE_CHECKING

from relion_mpi import __version__
from relion_mpi.report.facts import facts_html
from relion_mpi.report.figures import (
    classes,
    course,
    maps,
    particles,
    progress,
    sharpened,
    spectra,
    times,
    views,
)
from relion_mpi.report.findings import find_all
from relion_mpi.report.gather.state import State
from relion_mpi.report.summary import figures_of, title_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from relion_mpi.report.findings.finding import Finding
    from relion_mpi.report.gather.run import Run
    from relion_mpi.report.panel import Panel

log = logging.getLogger(__name__)

SECTIONS: tuple[tuple[str, tuple[Callable[[Run], Panel | None], ...]], ...] = (
    ("Result", (
        maps.surface_panel, classes.classes_panel, maps.slices_panel, course.course_panel,
    )),
    ("Post-processing", (
        sharpened.masked_fsc_panel, sharpened.guinier_panel, sharpened.local_resolution_panel,
    )),
    ("Progress", (
        progress.resolution_panel, progress.pmax_panel, progress.accuracy_panel,
        progress.changes_panel, classes.shares_panel,
    )),
    ("Particles", (
        views.views_panel, particles.pmax_histogram, particles.shift_histogram,
        particles.defocus_histogram, particles.astigmatism_histogram,
    )),
    ("Spectra", (spectra.signal_panel, spectra.noise_panel)),
    ("Time", (times.stages_panel, times.ranks_panel)),
)  # fmt: skip

_SCRIPTS = ("script.js", "turning.js")

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body data-state="{state}" data-drawn="{drawn_seconds:.0f}">
<header>
<p class="kind">{kind} <span class="state {state}">{state}</span></p>
<h1>{name}</h1>
<p class="drawn">{after}drawn <time>{drawn}</time><span id="age"></span></p>
</header>
<main>
<div class="figures">{figures}</div>
<div class="findings">{findings}</div>
{sections}
<section id="facts"><h2>Facts</h2>{facts}</section>
</main>
<footer>relion-mpi {version}</footer>
<script>{script}</script>
</body>
</html>
"""


def make_page(run: Run) -> str:
    """Draw a run.

    Parameters
    ----------
    run
        What was gathered.

    Returns
    -------
    str
        HTML. It loads nothing; a picture that cannot be drawn is left out with a warning.
    """
    now = datetime.now(UTC)
    own = resources.files("relion_mpi.report")
    return _PAGE.format(
        title=escape(f"{run.job.root}: {title_of(run)}"),
        style=(own / "style.css").read_text(encoding="utf-8"),
        script="".join((own / name).read_text(encoding="utf-8") for name in _SCRIPTS),
        state=run.state.value,
        kind=escape(title_of(run)),
        name=escape(str(run.job.root)),
        after=_after(run),
        drawn=now.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
        drawn_seconds=now.timestamp(),
        figures="".join(
            f'<div class="figure"><span>{escape(one.label)}</span><b>{escape(one.value)}</b>'
            f"<small>{escape(one.detail)}</small></div>"
            for one in figures_of(run)
        ),
        findings=_findings(find_all(run)),
        sections="".join(_section(run, name, draws) for name, draws in SECTIONS),
        facts=facts_html(run),
        version=__version__,
    )  # fmt: skip


def _after(run: Run) -> str:
    """Say how far the run was when the page was drawn."""
    if run.state is not State.RUNNING or run.last is None:
        return ""
    return f"after iteration {run.last.iteration}, "


def _findings(found: list[Finding]) -> str:
    if not found:
        return '<p class="fine">Nothing to warn of.</p>'
    return "".join(
        f'<div class="finding {one.level.value}" data-name="{one.name}">'
        f"<b>{escape(one.title)}</b> {escape(one.text)}</div>"
        for one in found
    )


def _section(run: Run, name: str, draws: tuple[Callable[[Run], Panel | None], ...]) -> str:
    panels = [panel for draw in draws if (panel := _drawn(run, draw)) is not None]
    if not panels:
        return ""
    # in rows of two or three, whichever leaves no panel alone in its row
    in_rows = sum(not panel.wide for panel in panels)
    by = " by-three" if in_rows % 3 != 1 and in_rows > 2 else ""
    inner = "".join(map(_panel, panels))
    return (
        f'<section id="{name.lower()}"><h2>{name}</h2><div class="panels{by}">{inner}</div>'
        "</section>"
    )


def _drawn(run: Run, draw: Callable[[Run], Panel | None]) -> Panel | None:
    """Draw one picture; what is wrong with it must not take the others away."""
    try:
        return draw(run)
    except Exception as error:  # noqa: BLE001 - told; a picture is not worth a page
        log.warning(
            "%s: %s could not be drawn (%s: %s); it is left out of the page", run.job.root,
            draw.__name__.removesuffix("_panel"), type(error).__name__, error,
        )  # fmt: skip
        return None


def _panel(panel: Panel) -> str:
    wide = " wide" if panel.wide else ""
    return (
        f'<article class="panel{wide}" id="{panel.name}-panel"><h3>{escape(panel.title)}</h3>'
        f"{panel.body}<p>{escape(panel.caption)}</p></article>"
    )
