"""`relion-mpi launch`: a command on all ranks that fit."""

from __future__ import annotations

from relion_mpi.cli.starting import spelling
from relion_mpi.cluster.launch_options import LaunchOptions as Options
from relion_mpi.cluster.launch_program import launch as run

__all__ = ["SUMMARY", "Options", "run", "spelt"]

SUMMARY = "start a command under mpirun or srun, one worker a GPU, each with its cores"

spelt = spelling(Options)
