"""`relion-mpi class3d`: 3D classification."""

from __future__ import annotations

from relion_mpi.cli.iterating import run, spelling
from relion_mpi.refine.class3d_options import Class3DOptions as Options

__all__ = ["SUMMARY", "Options", "run", "spelt"]

SUMMARY = "Sort particles into classes of different structure (RELION's 3D classification)"

spelt = spelling(Options)
