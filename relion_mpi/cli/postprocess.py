"""`relion-mpi postprocess`: resolution and sharpening from two half-maps."""

from __future__ import annotations

from relion_mpi.cli.alone import on_rank_0
from relion_mpi.postprocess.options import PostprocessOptions as Options
from relion_mpi.postprocess.program import postprocess

__all__ = ["SUMMARY", "Options", "run"]

SUMMARY = "find the resolution of two half-maps, and sharpen and filter their mean"

run = on_rank_0(postprocess)
