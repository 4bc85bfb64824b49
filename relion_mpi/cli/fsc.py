"""`relion-mpi fsc`: Fourier shell correlation of two maps."""

from __future__ import annotations

from relion_mpi.cli.compare import spelt  # `fsc A B` is `fsc --a A --b B`
from relion_mpi.parallel import comm
from relion_mpi.postprocess.options import FscOptions as Options
from relion_mpi.postprocess.two_maps import correlate

__all__ = ["SUMMARY", "Options", "run", "spelt"]

SUMMARY = "correlate two maps shell by shell, with and without a mask"


def run(options: Options) -> int:
    """Correlate on rank 0; there is nothing to share out.

    Parameters
    ----------
    options
        What was asked for.

    Returns
    -------
    int
        Exit status 0.

    Raises
    ------
    InputError
        Files cannot be read or written, or do not fit each other.
    """
    if comm.world().rank == 0:
        correlate(options)
    return 0
