"""`relion-mpi postprocess`: resolution and sharpening from two half-maps."""

from __future__ import annotations

from relion_mpi.cli.alone import on_rank_0
from relion_mpi.postprocess.locres.program import local_resolution
from relion_mpi.postprocess.options import PostprocessOptions as Options
from relion_mpi.postprocess.program import postprocess

__all__ = ["SUMMARY", "Options", "run"]

SUMMARY = "find the resolution of two half-maps, over all or locally, and filter their mean by it"


def _work(options: Options) -> object:
    return local_resolution(options) if options.locres else postprocess(options)


run = on_rank_0(_work)
