"""`relion-mpi mask`: a solvent mask from a map."""

from __future__ import annotations

from relion_mpi.maps.mask_options import MaskOptions as Options
from relion_mpi.maps.mask_program import make_mask
from relion_mpi.parallel import comm

__all__ = ["SUMMARY", "Options", "run"]

SUMMARY = "make a solvent mask of a map"


def run(options: Options) -> int:
    """Make the mask on rank 0; there is nothing to share out.

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
        Files cannot be read or written, or options do not fit the map.
    """
    if comm.world().rank == 0:
        make_mask(options)
    return 0
