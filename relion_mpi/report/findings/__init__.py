"""What a person should know before looking at pictures, in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relion_mpi.report.findings import ending, particles, quality
from relion_mpi.report.findings.finding import Finding, Level

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from relion_mpi.report.gather.run import Run

CHECKS: tuple[Callable[[Run], Iterator[Finding]], ...] = (
    ending.how_it_ended, quality.views, quality.mask, particles.halves, quality.curve,
    particles.particles, ending.certainty, ending.classes, ending.ranks, ending.log_lines,
)  # fmt: skip


def find_all(run: Run) -> list[Finding]:
    """Look at a run with all eyes.

    Parameters
    ----------
    run
        What was gathered.

    Returns
    -------
    list of Finding
        Problems first.
    """
    found = [finding for check in CHECKS for finding in check(run)]
    return sorted(found, key=lambda one: one.level is not Level.PROBLEM)
