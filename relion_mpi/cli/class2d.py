"""`relion-mpi class2d`: 2D classification."""

from __future__ import annotations

from relion_mpi.cli.iterating import run, spelling
from relion_mpi.refine.class2d_options import Class2DOptions as Options

__all__ = ["SUMMARY", "Options", "run", "spelt"]

SUMMARY = "Average particles in classes of like views (RELION's 2D classification)"

spelt = spelling(Options)
