"""`relion-mpi doctor`: what a run would meet here."""

from __future__ import annotations

from relion_mpi.doctor.options import DoctorOptions as Options
from relion_mpi.doctor.program import diagnose
from relion_mpi.parallel import comm

__all__ = ["SUMMARY", "Options", "run"]

SUMMARY = "tell what a run would meet here (MPI, cores, GPUs, disk) and how to mend what is wrong"


def run(options: Options) -> int:
    """Look around on every rank; rank 0 tells.

    Parameters
    ----------
    options
        What the run to come is started with.

    Returns
    -------
    int
        Exit status: 1 if something is broken.
    """
    return diagnose(options, comm.world())
