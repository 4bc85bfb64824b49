"""`relion-mpi mask`: a solvent mask from a map."""

from __future__ import annotations

from relion_mpi.cli.alone import on_rank_0
from relion_mpi.maps.mask_options import MaskOptions as Options
from relion_mpi.maps.mask_program import make_mask

__all__ = ["SUMMARY", "Options", "run"]

SUMMARY = "make a solvent mask of a map"

run = on_rank_0(make_mask)
