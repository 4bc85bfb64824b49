"""`relion-mpi plan`: what a refinement will need."""

from __future__ import annotations

import logging

from relion_mpi.parallel import comm
from relion_mpi.refine.plan_options import PlanOptions as Options
from relion_mpi.refine.plan_program import plan
from relion_mpi.refine.plan_text import as_text

__all__ = ["SUMMARY", "Options", "run"]

SUMMARY = "predict the memory and time of a refinement on GPUs and hosts, and what fits"

log = logging.getLogger(__name__)


def run(options: Options) -> int:
    """Predict on rank 0; the others have nothing to do.

    Parameters
    ----------
    options
        What is to be refined, and on what.

    Returns
    -------
    int
        Exit status: 1 if a run would be refused.
    """
    if comm.world().rank != 0:
        return 0
    found = plan(options)
    log.info("%s", as_text(found))
    return int(bool(found.refusal))
