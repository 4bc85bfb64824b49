"""`relion-mpi refine3d`: gold-standard 3D refinement."""

from __future__ import annotations

from relion_mpi.cli.iterating import run, spelling
from relion_mpi.refine.options import RefineOptions as Options

__all__ = ["SUMMARY", "Options", "run", "spelt"]

SUMMARY = "Refine one structure from particles to gold-standard half-maps (RELION's auto-refine)"

spelt = spelling(Options)
