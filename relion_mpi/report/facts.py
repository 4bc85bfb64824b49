"""Command line, versions, options and files, for those who want to know exactly."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relion_mpi.report.gather.run import Run


def facts_html(run: Run) -> str:
    """Write what the page ends with.

    Parameters
    ----------
    run
        What was gathered.

    Returns
    -------
    str
        HTML.
    """
    facts = {"files": f"{run.job.root}_*", "program": run.origin.program or "not told by the files"}
    if run.origin.symmetry:
        facts["point group"] = run.origin.symmetry
    if run.last is not None:
        facts["box"] = f"{run.last.box_size} pixels of {run.last.pixel_size_angst:.4g} Å"
    if run.origin.particle_diameter_angst is not None:
        facts["particle diameter"] = f"{run.origin.particle_diameter_angst:.0f} Å"
    if run.origin.solvent_mask is not None:
        facts["solvent mask"] = run.origin.solvent_mask
    if run.sharpened is not None:
        facts["post-processing"] = str(run.sharpened.path)
        facts["mask"] = run.sharpened.mask or "none"
    if run.job.others:
        facts["other runs in the folder"] = ", ".join(run.job.others)
    parts = [_table(facts)]
    if run.origin.command_line:
        parts.append(f"<h3>Command line</h3><pre>{escape(run.origin.command_line)}</pre>")
    if run.messages:
        lines = escape("\n".join(run.messages))
        parts.append(f'<h3 id="log">Warnings and errors of the log</h3><pre>{lines}</pre>')
    if run.origin.options:
        options = _table(run.origin.options)
        parts.append(f"<details><summary>All options</summary>{options}</details>")
    return "".join(parts)


def _table(values: Mapping[str, str]) -> str:
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>"
        for name, value in values.items()
    )
    return f'<div class="scroll"><table>{rows}</table></div>'
