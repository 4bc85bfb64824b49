"""Single-particle refinement that reads and writes RELION's files, over MPI."""

__version__ = "0.1.0"
