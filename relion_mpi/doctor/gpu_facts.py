"""What each rank finds out about GPUs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from relion_mpi.backend.gpu import device
from relion_mpi.backend.gpu.trial import trial
from relion_mpi.core.errors import InputError
from relion_mpi.parallel import devices

if TYPE_CHECKING:
    from relion_mpi.backend.gpu.device import DeviceInfo, Missing
    from relion_mpi.parallel.comm import Node

_MODULE = Path("/proc/driver/nvidia/version")
_CUPY = ("cupy-cuda13x", "cupy-cuda12x", "cupy")


@dataclass(frozen=True, slots=True)
class GPUFacts:
    """GPUs as one rank sees them. Texts are empty where there is nothing to tell."""

    cupy: str
    driver: str
    driver_cuda: str
    missing: Missing | None
    seen: tuple[DeviceInfo, ...]
    chosen: int | None
    understood: str
    mistake: str
    fault: str


def look_at_gpus(text: str, node: Node) -> GPUFacts:
    """Look for GPUs, choose this rank's and try it.

    Parameters
    ----------
    text
        Value of `--gpu`.
    node
        Who shares this node.

    Returns
    -------
    GPUFacts
        This rank's.
    """
    missing = device.missing()
    n_devices = 0 if missing else device.n_devices()
    chosen, understood, mistake = None, "", ""
    try:
        # A mistake in the list is told whether or not there are GPUs.
        spec = devices.parse_gpu(text)
        if n_devices:
            worker = devices.local_worker(node)
            chosen = devices.assign(worker, node.n_workers, n_devices, spec)
            understood = devices.understood(spec, node.n_workers, n_devices)
    except InputError as error:
        mistake = str(error)
    return GPUFacts(
        cupy=_cupy_version(),
        driver=_driver(),
        driver_cuda=device.driver_cuda(),
        missing=missing,
        seen=tuple(device.describe(index) for index in range(n_devices)),
        chosen=chosen,
        understood=understood,
        mistake=mistake,
        fault="" if chosen is None else trial(chosen),
    )


def _cupy_version() -> str:
    for name in _CUPY:
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    return ""


def _driver() -> str:
    """Return the version of the loaded kernel module."""
    try:
        first = _MODULE.read_text(encoding="utf-8", errors="replace").split("\n", 1)[0]
    except OSError:
        return ""
    found = re.search(r"\b\d{3,}\.\d+(?:\.\d+)?\b", first)
    return found.group() if found else "of unknown version"
