"""Arrays and kernels behind two narrow interfaces, of the E-step and of the M-step."""

from relion_mpi.backend.select import select_backend, select_volumes, volumes_that_fit

__all__ = ["select_backend", "select_volumes", "volumes_that_fit"]
