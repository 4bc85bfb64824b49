"""Bind this rank to a GPU; tell and share its memory."""

from __future__ import annotations

import ctypes
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from relion_mpi.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

CONTEXT_BYTES = 600 * 2**20
"""Bytes of a rank that no array holds: the driver's context, compiled kernels, cuBLAS and cuFFT.

It depends on the driver and the GPU: 0.5 to 0.6 GiB were seen."""
RESERVE_BYTES = 512 * 2**20
"""What of CONTEXT_BYTES, and of pieces too small to use, may still come after a rank began."""

KIND_SHARE = 0.85
"""Share of a GPU that what is decided by its kind may fill."""


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """One GPU, as the log and `relion-mpi doctor` name it. Memory in bytes.

    `free_bytes` is None where it was not asked for: the answer costs a context on the GPU.
    """

    index: int
    name: str
    uuid: str
    pci_bus_id: str
    total_bytes: int
    free_bytes: int | None
    compute_capability: str

    def __str__(self) -> str:
        """Return one line for the log."""
        memory = f"{self.total_bytes / 2**30:.1f} GiB"
        if self.free_bytes is not None:
            memory = f"{self.free_bytes / 2**30:.1f} of {memory} free"
        return (
            f"GPU {self.index}: {self.name}, {self.uuid}, PCI {self.pci_bus_id}, "
            f"compute capability {self.compute_capability}, {memory}"
        )


@dataclass(frozen=True, slots=True)
class Missing:
    """Why no GPU can be used, and what to do about it."""

    why: str
    mend: str


def n_devices() -> int:
    """Count the GPUs this process sees; never raises.

    Returns
    -------
    int
        0 without CuPy, without a driver or without a GPU.
    """
    return 0 if missing() else _count()


def why_no_device() -> str:
    """Say why no GPU can be used, and what to do; never raises.

    Returns
    -------
    str
        Two parts of a sentence, or nothing where a GPU is seen.
    """
    found = missing()
    return "" if found is None else f"{found.why}; {found.mend}"


def missing() -> Missing | None:
    """Look for what a GPU needs; never raises.

    Returns
    -------
    Missing or None
        The first thing that is missing; None where a GPU is seen.
    """
    try:
        import cupy  # noqa: F401
    except Exception as reason:  # noqa: BLE001 - a broken CuPy raises what it likes
        return Missing(
            f"CuPy cannot be imported ({_first_line(reason)})",
            "install relion-mpi[cuda13], or relion-mpi[cuda12] for a driver older than 580",
        )
    if not driver_cuda():
        return Missing(
            "there is no NVIDIA driver",
            "start on a machine with a GPU; in a container, pass the driver on (--nv, --gpus all)",
        )
    try:
        count = _count()
    except Exception as reason:  # noqa: BLE001 - CuPy wraps some errors of the driver, not all
        return Missing(
            f"CUDA does not start ({_first_line(reason)})",
            "compare `nvidia-smi` with CuPy: relion-mpi[cuda12] works with older drivers; look at "
            "CUDA_VISIBLE_DEVICES and at what the job asked for",
        )
    if count < 1:
        return Missing(
            "CUDA sees no GPU", "look at CUDA_VISIBLE_DEVICES and at what the job asked for"
        )
    return None


def bind(index: int) -> DeviceInfo:
    """Make a GPU this process's current device, before anything is allocated.

    Parameters
    ----------
    index
        Number of the GPU among those this process sees.

    Returns
    -------
    DeviceInfo
        What was bound; also written to the log.

    Raises
    ------
    InputError
        If CuPy is missing or there is no such GPU.
    """
    reason = why_no_device()
    if reason:
        raise InputError(f"no GPU can be used: {reason}")
    count = _count()
    if not 0 <= index < count:
        raise InputError(
            f"--gpu asks for GPU {index}, but this process sees {count} (0 to {count - 1}); "
            "leave the numbers out to have them chosen"
        )
    import cupy

    cupy.cuda.Device(index).use()
    info = describe(index, ask_free=True)
    log.info("Using %s", info)
    return info


def describe(index: int, *, ask_free: bool = False) -> DeviceInfo:
    """Return name, UUID and memory of a GPU without making it the current device.

    Parameters
    ----------
    index
        Number of the GPU among those this process sees.
    ask_free
        Whether to ask for the free memory, which takes some itself for a context.

    Returns
    -------
    DeviceInfo
        The GPU.
    """
    import cupy

    runtime = cupy.cuda.runtime
    properties = runtime.getDeviceProperties(index)
    free: int | None = None
    if ask_free:
        with cupy.cuda.Device(index):
            free = int(runtime.memGetInfo()[0])
    return DeviceInfo(
        index=index,
        name=_text(properties["name"]),
        uuid=uuid_text(_uuid_bytes(index, bytes(properties["uuid"]))),
        pci_bus_id=str(runtime.deviceGetPCIBusId(index)),
        total_bytes=int(properties["totalGlobalMem"]),
        free_bytes=free,
        compute_capability=f"{properties['major']}.{properties['minor']}",
    )


def uuid_text(raw: bytes) -> str:
    """Write a GPU's 16 bytes as nvidia-smi does.

    Parameters
    ----------
    raw
        16 bytes.

    Returns
    -------
    str
        GPU-8-4-4-4-12 hexadecimal digits.
    """
    digits = raw[:16].hex()
    return "GPU-" + "-".join(
        digits[start:stop] for start, stop in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))
    )


def bytes_free(n_sharing: int = 1) -> int:
    """Return what this rank may still allocate on the current device.

    Memory that CuPy's pool holds and does not use counts as free. Ranks on one GPU all call this
    at about the same time: each gets an equal part of what the driver has left.

    Parameters
    ----------
    n_sharing
        Ranks on this GPU, this one included.

    Returns
    -------
    int
        Bytes, never negative, within the limit set by `limit_memory`.
    """
    import cupy

    pool = cupy.get_default_memory_pool()
    free, _ = cupy.cuda.runtime.memGetInfo()
    limit = int(pool.get_limit())
    return fair_share(int(free), int(pool.free_bytes()), int(pool.used_bytes()), limit, n_sharing)


def fair_share(driver_free: int, pool_free: int, pool_used: int, limit: int, n_sharing: int) -> int:
    """Return the bytes one of several ranks may still allocate.

    Parameters
    ----------
    driver_free
        Bytes nobody has taken.
    pool_free
        Bytes this rank has taken and does not use.
    pool_used
        Bytes this rank uses.
    limit
        Most bytes this rank may take; 0 for no limit.
    n_sharing
        Ranks on the GPU.

    Returns
    -------
    int
        Bytes, never negative.
    """
    share = driver_free // max(n_sharing, 1) + pool_free - RESERVE_BYTES
    if limit > 0:
        share = min(share, limit - pool_used)
    return max(share, 0)


def room(n_sharing: int = 1, leave_bytes: int = 0) -> int:
    """Return what this rank may hold of the current device in all, its context included.

    Parameters
    ----------
    n_sharing
        Ranks at work on this GPU, this one included.
    leave_bytes
        What they leave to others, all of them together.

    Returns
    -------
    int
        Bytes, never negative.
    """
    return max(bytes_free(n_sharing) - leave_bytes // max(n_sharing, 1), 0) + CONTEXT_BYTES


def room_of_kind(total_bytes: int = 0) -> int:
    """Return what a refinement may count on in every GPU of a kind, its context included.

    What is decided by it is the same on all GPUs of the kind, whatever of each is free.

    Parameters
    ----------
    total_bytes
        Memory of the GPU; 0 asks the current one.

    Returns
    -------
    int
        Bytes; drivers differ by less than is left out.
    """
    if not total_bytes:
        import cupy

        _, total_bytes = cupy.cuda.runtime.memGetInfo()
    return int(KIND_SHARE * (total_bytes // 2**30)) * 2**30


def limit_memory(n_sharing: int) -> int:
    """Keep this rank's memory pool to its part of the current device.

    Parameters
    ----------
    n_sharing
        Ranks on this GPU, this one included.

    Returns
    -------
    int
        The limit in bytes; CuPy raises OutOfMemoryError beyond it.
    """
    import cupy

    _, total = cupy.cuda.runtime.memGetInfo()
    limit = max(int(total) // max(n_sharing, 1) - RESERVE_BYTES, RESERVE_BYTES)
    cupy.get_default_memory_pool().set_limit(size=limit)
    return limit


def pinned_like(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Make an uninitialised array in page-locked memory, which copies to the GPU without waiting.

    Parameters
    ----------
    array
        Gives shape and dtype.

    Returns
    -------
    array
        C order; the memory is freed with the last view of it.
    """
    import cupyx

    found: np.ndarray[Any, Any] = cupyx.empty_like_pinned(array, order="C")
    return found


def driver_cuda() -> str:
    """Return the newest version of CUDA that the driver supports; never raises.

    Returns
    -------
    str
        Such as "13.0"; empty without CuPy or a driver.
    """
    try:
        import cupy

        version = int(cupy.cuda.runtime.driverGetVersion())
    except Exception:  # noqa: BLE001 - as in why_no_device
        return ""
    return f"{version // 1000}.{version % 1000 // 10}" if version else ""


def _uuid_bytes(index: int, from_cupy: bytes) -> bytes:
    """Ask the driver: CuPy's properties end at the first zero byte, which one UUID in 20 has."""
    found = (ctypes.c_ubyte * 16)()
    handle = ctypes.c_int()
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        failed = driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(handle), index)
        failed = failed or driver.cuDeviceGetUuid_v2(found, handle)
    except (OSError, AttributeError):
        failed = 1
    return from_cupy.ljust(16, b"\0") if failed else bytes(found)


def _count() -> int:
    import cupy

    return int(cupy.cuda.runtime.getDeviceCount())


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _first_line(reason: BaseException) -> str:
    words = str(reason).strip().splitlines()
    return words[0] if words else type(reason).__name__
