"""`relion-mpi star`: operations on STAR files."""

from __future__ import annotations

from relion_mpi.cli.alone import on_rank_0
from relion_mpi.star.options import StarOptions as Options
from relion_mpi.star.program import handle

__all__ = ["SUMMARY", "Options", "run"]

SUMMARY = "combine, split, select, expand and convert particle STAR files"

run = on_rank_0(handle)
