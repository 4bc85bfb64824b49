"""Choose a backend by name; heavy imports happen only for the one that is chosen."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from relion_mpi.core.errors import InputError

if TYPE_CHECKING:
    from relion_mpi.backend.protocol import Backend

BACKENDS = {"cpu": "relion_mpi.backend.cpu.engine", "gpu": "relion_mpi.backend.gpu.engine"}
"""Name of a backend -> module with a `create(precision)` function."""


def select_backend(name: str, precision: str) -> Backend:
    """Make a backend.

    Parameters
    ----------
    name
        A key of `BACKENDS`.
    precision
        "float32" or "float64".

    Raises
    ------
    InputError
        If there is no such backend or precision, or CuPy or a GPU is missing for "gpu".
    """
    if name not in BACKENDS:
        msg = f"backend {name!r} is not known; choose one of {', '.join(BACKENDS)}"
        raise InputError(msg)
    if name == "gpu":
        _require_gpu()
    backend: Backend = import_module(BACKENDS[name]).create(precision)
    return backend


def _require_gpu() -> None:
    from relion_mpi.backend.gpu.device import why_no_device

    reason = why_no_device()
    if reason:
        msg = f"backend 'gpu': no GPU can be used: {reason}"
        raise InputError(msg)
