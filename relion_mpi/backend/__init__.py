"""Arrays and kernels behind three narrow interfaces: of the E-step, of the M-step, of picking."""

from relion_mpi.backend.select import (
    select_backend,
    select_picking,
    select_volumes,
    volumes_that_fit,
)

__all__ = ["select_backend", "select_picking", "select_volumes", "volumes_that_fit"]
