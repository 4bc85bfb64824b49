"""`relion-mpi select`: particles of chosen classes."""

from __future__ import annotations

from relion_mpi.cli.alone import on_rank_0
from relion_mpi.select.options import SelectOptions as Options
from relion_mpi.select.program import select

__all__ = ["SUMMARY", "Options", "run"]

SUMMARY = "write the particles of chosen classes to a new STAR file"

run = on_rank_0(select)
