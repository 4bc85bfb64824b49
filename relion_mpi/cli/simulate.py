"""`relion-mpi simulate`: particles whose poses are known."""

from __future__ import annotations

from relion_mpi.parallel import comm
from relion_mpi.simulate.options import SimulateOptions as Options
from relion_mpi.simulate.particle_set import simulate

__all__ = ["SUMMARY", "Options", "run"]

SUMMARY = "make a particle set with known truth from a map, a model or a made-up protein"


def run(options: Options) -> int:
    """Make the set.

    Parameters
    ----------
    options
        What was asked for.

    Returns
    -------
    int
        Exit status 0.
    """
    if comm.world().rank == 0:  # one process writes; its threads use the node
        simulate(options)
    return 0
