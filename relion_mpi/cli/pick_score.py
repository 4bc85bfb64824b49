"""`relion-mpi pick-score`: how good picks are."""

from __future__ import annotations

from relion_mpi.cli.alone import on_rank_0
from relion_mpi.picking.score_options import PickScoreOptions as Options
from relion_mpi.picking.score_program import score_picks

__all__ = ["SUMMARY", "Options", "run"]

SUMMARY = "compare picked particles with the truth: precision, recall, F1"

run = on_rank_0(score_picks)
