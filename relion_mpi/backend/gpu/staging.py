"""Copies of large arrays between the device and host memory that is not page-locked.

They go through two small page-locked buffers: one is filled while the other is emptied, by several
threads, since one core copies more slowly than the bus.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import cupy as cp
import cupyx
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

COPY_THREADS = 4
CHUNK_BYTES = 2**24


def to_host(array: Any) -> NDArray[Any]:
    """Copy a contiguous array of the current stream into a new one of the host.

    Parameters
    ----------
    array : cupy, any shape and type

    Returns
    -------
    numpy, same shape and type
    """
    found = np.empty(array.shape, array.dtype)
    source, target = array.reshape(-1), found.reshape(-1)
    stream = cp.cuda.get_current_stream()
    with ThreadPoolExecutor(COPY_THREADS) as threads:
        unread: list[tuple[slice, NDArray[Any], Any]] = []

        def empty_one() -> None:
            part, buffer, arrived = unread.pop(0)
            arrived.synchronize()
            copy(threads, buffer, target[part])

        for part, buffer, arrived in _chunks(source.size, source.dtype):
            source[part].get(out=buffer, stream=stream, blocking=False)
            arrived.record(stream)
            unread.append((part, buffer, arrived))
            if len(unread) > 1:
                empty_one()
        while unread:
            empty_one()
    return found


def to_device(array: NDArray[Any], dtype: Any) -> Any:
    """Copy an array of the host into a new one of the device, on the current stream.

    Parameters
    ----------
    array : numpy, any shape; it may be changed as soon as this returns
    dtype
        Of the copy; the conversion is done on the device.

    Returns
    -------
    cupy, same shape
    """
    found = cp.empty(array.shape, dtype)
    source, target = array.reshape(-1), found.reshape(-1)
    stream = cp.cuda.get_current_stream()
    with ThreadPoolExecutor(COPY_THREADS) as threads:
        for k, (part, buffer, left) in enumerate(_chunks(source.size, source.dtype)):
            if k > 1:
                left.synchronize()
            copy(threads, source[part], buffer)
            as_it_is = target[part]
            if source.dtype != target.dtype:
                as_it_is = cp.empty(buffer.shape, source.dtype)
            as_it_is.set(buffer, stream=stream)
            left.record(stream)
            if as_it_is.dtype != target.dtype:
                target[part] = as_it_is
    stream.synchronize()  # the buffers go
    return found


def copy(threads: ThreadPoolExecutor, source: NDArray[Any], target: NDArray[Any]) -> None:
    """Copy host memory with several threads.

    Parameters
    ----------
    threads
        `COPY_THREADS` of them.
    source, target : same shape
    """
    step = -(-source.shape[0] // COPY_THREADS)
    parts = [slice(start, start + step) for start in range(0, source.shape[0], step)]
    list(threads.map(lambda part: np.copyto(target[part], source[part]), parts))


def _chunks(n: int, dtype: Any) -> list[tuple[slice, NDArray[Any], Any]]:
    """Divide n elements; each part with one of two page-locked buffers and that one's event."""
    step = CHUNK_BYTES // np.dtype(dtype).itemsize
    buffers = [cupyx.empty_pinned((min(step, n),), dtype) for _ in range(2)]
    events = [cp.cuda.Event(disable_timing=True) for _ in buffers]
    parts = [slice(start, min(start + step, n)) for start in range(0, n, step)]
    return [
        (part, buffers[k % 2][: part.stop - part.start], events[k % 2])
        for k, part in enumerate(parts)
    ]
