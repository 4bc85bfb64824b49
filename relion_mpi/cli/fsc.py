"""`relion-mpi fsc`: Fourier shell correlation of two maps."""

from __future__ import annotations

from relion_mpi.cli.alone import on_rank_0
from relion_mpi.cli.compare import spelt  # `fsc A B` is `fsc --a A --b B`
from relion_mpi.postprocess.options import FscOptions as Options
from relion_mpi.postprocess.two_maps import correlate

__all__ = ["SUMMARY", "Options", "run", "spelt"]

SUMMARY = "correlate two maps, or a map and a model, shell by shell, with and without a mask"

run = on_rank_0(correlate)
