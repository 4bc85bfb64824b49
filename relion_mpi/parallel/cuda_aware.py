"""Whether this MPI takes pointers to GPU memory.

An MPI that does not ends in a segmentation fault when it is handed one. So only a library that says
of itself, at run time, that it does is believed; everything else gets copies in host memory.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache

from relion_mpi.parallel.comm import World, world

# MPICH's numbering of kinds of GPU, mpi.h.
_MPIX_GPU_SUPPORT_CUDA = 0
_OFF = ("0", "no", "off", "false")


def is_cuda_aware(ranks: World | None = None) -> bool:
    """Tell whether device pointers may be handed to MPI.

    Parameters
    ----------
    ranks
        The job; `comm.world()` if left out. MPI must have been initialised by it.

    Returns
    -------
    bool
        True only if the library says so itself; False in one process without MPI.
    """
    job = world() if ranks is None else ranks
    return job.comm is not None and _library_says_so()


def library_name(ranks: World | None = None) -> str:
    """Return name and version of the MPI library, or why there is none.

    Parameters
    ----------
    ranks
        The job; `comm.world()` if left out.

    Returns
    -------
    str
        One line.
    """
    job = world() if ranks is None else ranks
    if job.comm is None:
        return "none"
    from mpi4py import MPI

    first = MPI.Get_library_version().replace("\0", "").strip().splitlines()[0]
    words = first.replace("MPICH Version:", "MPICH").split(",")[0].split()
    return " ".join(words)


@cache
def _library_says_so() -> bool:
    from mpi4py import MPI

    # MPICH answers for how it was built even where it was told at start to leave GPUs alone.
    if os.environ.get("MPIR_CVAR_ENABLE_GPU", "1").lower() in _OFF:
        return False
    try:
        # A handle of the extension also finds what is in the libraries it is linked to.
        library = ctypes.CDLL(MPI.__file__)
    except OSError:
        return False
    return _asked_mpich(library) or _asked_open_mpi(library)


def _asked_mpich(library: ctypes.CDLL) -> bool:
    """Ask `int MPIX_GPU_query_support(int gpu_type, int *is_supported)`."""
    try:
        ask = library.MPIX_GPU_query_support
    except AttributeError:
        return False
    ask.restype = ctypes.c_int
    ask.argtypes = [ctypes.c_int, ctypes.POINTER(ctypes.c_int)]
    found = ctypes.c_int(0)
    return bool(ask(_MPIX_GPU_SUPPORT_CUDA, ctypes.byref(found)) == 0 and found.value == 1)


def _asked_open_mpi(library: ctypes.CDLL) -> bool:
    """Ask `int MPIX_Query_cuda_support(void)`, which newer MPICH has as well."""
    try:
        ask = library.MPIX_Query_cuda_support
    except AttributeError:
        return False
    ask.restype = ctypes.c_int
    ask.argtypes = []
    return bool(ask() == 1)
