"""Stacks of images that are written one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.io.atomic import replacing
from relion_mpi.io.mrc import HEADER_BYTES, header_bytes

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from numpy.typing import NDArray

_MODES = {np.dtype(np.float32): 2, np.dtype(np.float16): 12}


def write_stack(
    path: str | os.PathLike[str],
    images: Iterable[NDArray[np.generic]],
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    pixel_size_angst: float,
) -> None:
    """Write a stack without ever holding it in memory, whole or not at all.

    Parameters
    ----------
    path
        File to replace.
    images : any number (ny, nx) each
    shape
        (n, ny, nx).
    dtype
        float32 (mode 2) or float16 (mode 12).
    pixel_size_angst
        Pixel size, Angstrom.

    Raises
    ------
    ValueError
        Another number of images than the shape says.
    """
    lowest, highest, total, squares, n = np.inf, -np.inf, 0.0, 0.0, 0
    with replacing(path) as temporary, temporary.open("wb") as handle:
        handle.write(bytes(HEADER_BYTES))
        for image in images:
            data = np.ascontiguousarray(image, dtype=dtype.newbyteorder("<"))
            handle.write(data.tobytes())
            values = data.astype(np.float64)
            lowest, highest = min(lowest, values.min()), max(highest, values.max())
            total, squares, n = total + values.sum(), squares + np.square(values).sum(), n + 1
        if n != shape[0]:
            raise ValueError(f"expected {shape[0]} images, found {n}")
        mean = total / max(n * shape[1] * shape[2], 1)
        variance = squares / max(n * shape[1] * shape[2], 1) - mean**2
        statistics = lowest, highest, mean, float(np.sqrt(max(variance, 0.0)))
        handle.seek(0)
        handle.write(
            header_bytes(shape, _MODES[dtype], pixel_size_angst, statistics, stack=True)
        )
