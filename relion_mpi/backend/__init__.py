"""Arrays and kernels behind one narrow interface; `select_backend` is the only way in."""

from relion_mpi.backend.select import select_backend

__all__ = ["select_backend"]
