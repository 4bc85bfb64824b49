"""Options of report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from relion_mpi.core.options import option

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What to report on, and where to."""

    i: Path = option(
        help="Folder of a job, root of a run's names or one of its files; the flag may be left out"
    )
    o: Path | None = option(None, help="Page to write; by default ROOT_report.html beside the run")
    iteration: int = option(
        -1, help="Show the run as it was after this iteration; negative: the last", minimum=-1
    )
    postprocess: Path | None = option(
        None, help="Post-processing to show, its .star or folder; by default one in the same folder"
    )
    sym: str | None = option(None, help="Point group; by default as the run's files say")
