"""`relion-mpi initialmodel`: a first volume from particles alone."""

from __future__ import annotations

from relion_mpi.cli.iterating import run, spelling
from relion_mpi.refine.initial_model_options import InitialModelOptions as Options

__all__ = ["SUMMARY", "Options", "run", "spelt"]

SUMMARY = "Make a first 3D map from particles alone (RELION's 3D initial model)"

spelt = spelling(Options)
