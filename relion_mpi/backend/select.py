"""Choose a backend by name; heavy imports happen only for the one that is chosen."""

from __future__ import annotations

import logging
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from relion_mpi.core.errors import InputError

if TYPE_CHECKING:
    from relion_mpi.backend.limits import Limits
    from relion_mpi.backend.picking import PickingBackend
    from relion_mpi.backend.protocol import Backend
    from relion_mpi.backend.volumes import VolumeBackend

log = logging.getLogger(__name__)

GIB = 2.0**30
BACKENDS = {"cpu": "relion_mpi.backend.cpu.engine", "gpu": "relion_mpi.backend.gpu.engine"}
"""Name of a backend -> module with a `create(precision, limits, deterministic=...)` function."""
VOLUMES = {"cpu": "relion_mpi.backend.cpu.volumes", "gpu": "relion_mpi.backend.gpu.volumes"}
"""Name of a backend -> module with a `create()` function, for the M-step."""
PICKING = {"cpu": "relion_mpi.backend.cpu.picking", "gpu": "relion_mpi.backend.gpu.picking"}
"""Name of a backend -> module with a `create()` function, for particle picking."""


def select_backend(
    name: str, precision: str, limits: Limits | None = None, *, deterministic: bool = False
) -> Backend:
    """Make a backend.

    Parameters
    ----------
    name
        A key of `BACKENDS`.
    precision
        "float32" or "float64".
    limits
        Of a GPU backend's temporary arrays; the CPU's are small.
    deterministic
        The same bits from any order of batches; the CPU gives them in any case.

    Raises
    ------
    InputError
        If there is no such backend or precision, or CuPy or a GPU is missing for "gpu".
    """
    _check(name)
    made = import_module(BACKENDS[name]).create(precision, limits, deterministic=deterministic)
    backend: Backend = made
    return backend


def select_volumes(name: str) -> VolumeBackend:
    """Make the float64 backend of the M-step.

    Parameters
    ----------
    name
        A key of `VOLUMES`.

    Raises
    ------
    InputError
        If there is no such backend, or CuPy or a GPU is missing for "gpu".
    """
    _check(name)
    backend: VolumeBackend = import_module(VOLUMES[name]).create()
    return backend


def select_picking(name: str) -> PickingBackend:
    """Make the backend of particle picking.

    Parameters
    ----------
    name
        A key of `PICKING`.

    Raises
    ------
    InputError
        If there is no such backend, or CuPy or a GPU is missing for "gpu".
    """
    _check(name)
    backend: PickingBackend = import_module(PICKING[name]).create()
    return backend


def volumes_that_fit(
    name: str,
    box_size: int,
    r_max: int,
    padding: int,
    *,
    skip_gridding: bool,
    n_operators: int,
    deterministic: bool = False,
) -> VolumeBackend:
    """Make the M-step's backend: that of the GPU where one is seen and has room, else the CPU's.

    The last digits of both differ, so a deterministic choice asks whether a GPU of this kind has
    room, whatever of it is free.

    Parameters
    ----------
    name
        A key of `VOLUMES`: what is wanted. A GPU that cannot be used is told in the log.
    box_size, r_max, padding
        See `relion_mpi.backend.volumes.FourierSums`.
    skip_gridding
        Divide once instead of iterating.
    n_operators
        Of the point group.
    deterministic
        Decide by the kind of GPU.

    Raises
    ------
    InputError
        The GPU must be used, and too little of it is free.
    """
    if name != "gpu":
        return select_volumes(name)
    from relion_mpi.backend.gpu.device import bytes_free, room_of_kind, why_no_device
    from relion_mpi.backend.gpu.volume_memory import peak_bytes, too_large

    reason = why_no_device()
    if not reason and too_large(box_size, padding):
        reason = f"a padded box of {padding * box_size} is more than its transforms can count"
    if not reason:
        need = peak_bytes(
            box_size, r_max, padding, skip_gridding=skip_gridding, n_operators=n_operators
        )
        free = bytes_free()
        if deterministic and free < need <= room_of_kind():
            msg = (
                f"--deterministic: the M-step needs {need / GIB:.1f} GiB of the GPU, of which "
                f"{free / GIB:.1f} are free, and the CPU's last digits differ; free memory of the "
                "GPU, then --continue"
            )
            raise InputError(msg)
        if need > (room_of_kind() if deterministic else free):
            reason = f"it needs {need / GIB:.1f} GiB of the GPU, {free / GIB:.1f} GiB are free"
    if reason:
        _say_once(f"The M-step is done on the CPU: {reason}")
    return select_volumes("cpu" if reason else "gpu")


@cache
def _say_once(line: str) -> None:
    log.info("%s", line)


def _check(name: str) -> None:
    """Refuse a backend that does not exist or cannot run here."""
    if name not in BACKENDS:
        msg = f"backend {name!r} is not known; choose one of {', '.join(BACKENDS)}"
        raise InputError(msg)
    if name != "gpu":
        return
    from relion_mpi.backend.gpu.device import why_no_device

    reason = why_no_device()
    if reason:
        msg = f"backend 'gpu': no GPU can be used: {reason}"
        raise InputError(msg)
