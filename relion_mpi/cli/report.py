"""`relion-mpi report PATH`: a run as one page to look at."""

from __future__ import annotations

from relion_mpi.cli.alone import on_rank_0
from relion_mpi.cli.validate import spelt  # `report PATH` is `report --i PATH`
from relion_mpi.report.options import ReportOptions as Options
from relion_mpi.report.program import report

__all__ = ["SUMMARY", "Options", "run", "spelt"]

SUMMARY = "show a run, running or ended, of relion-mpi or RELION, as one HTML page"

run = on_rank_0(report)
