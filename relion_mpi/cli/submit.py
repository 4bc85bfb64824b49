"""`relion-mpi submit`: a batch script for a command, from what it will need."""

from __future__ import annotations

from relion_mpi.cli.starting import spelling
from relion_mpi.cluster.submit_options import SubmitOptions as Options
from relion_mpi.cluster.submit_program import submit as run

__all__ = ["SUMMARY", "Options", "run", "spelt"]

SUMMARY = "submit a refinement to Slurm, with the memory, time and GPUs that it needs"

spelt = spelling(Options)
