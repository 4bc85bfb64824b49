"""Power of a map's padded transform per shell, without ever holding the whole transform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cupy as cp
import numpy as np

from relion_mpi.backend.gpu.compile import kernel
from relion_mpi.backend.gpu.staging import to_device
from relion_mpi.backend.gpu.volume_memory import SLAB_BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROW_THREADS = 128


def power_planes(volume: NDArray[np.floating[Any]], r_max: int, padding: int) -> cp.ndarray:
    """Sum squared moduli and voxels of a reference's transform, row by row.

    Parameters
    ----------
    volume : floating (box,) * 3
    r_max, padding
        See `relion_mpi.backend.volumes.VolumeBackend.map_power`.

    Returns
    -------
    cupy float64 (n_row, 2, box // 2 + 1)
        Sums of each y within reach, not scaled.
    """
    box = volume.shape[0]
    big, reach, n_shell = padding * box, padding * r_max, box // 2 + 1
    corrected = to_device(volume, np.float64)
    kernel("maps", "undo_roll_off")(
        (box, box), (ROW_THREADS,), (corrected, np.int32(box), np.int32(big))
    )
    # Axis by axis, each the last one in turn: only what is not zero goes in.
    half = cp.fft.rfft(corrected, n=big, axis=2)[:, :, : reach + 1]
    half = cp.ascontiguousarray(half.transpose(0, 2, 1))  # z, x, y
    rows = np.arange(-min(reach, big // 2 - 1), reach + 1)  # one Nyquist row, the positive one
    half = cp.fft.fft(half, n=big, axis=2)[:, :, cp.asarray(rows % big)]
    step = max(1, SLAB_BYTES // (16 * big * (reach + 1)))
    planes = cp.empty((rows.size, 2, n_shell), np.float64)
    on_device = cp.asarray(rows.astype(np.int32))
    for start in range(0, rows.size, step):
        part = slice(start, min(start + step, rows.size))
        lines = cp.fft.fft(cp.ascontiguousarray(half[:, :, part].T), n=big, axis=2)  # y, x, z
        kernel("volumes", "powers")(
            (part.stop - part.start,), (-(-n_shell // 32) * 32,),
            (lines, on_device[part], np.int32(reach + 1), np.int32(big), np.int32(reach),
             np.float64(padding), np.int32(n_shell), planes[part]),
        )  # fmt: skip
    return planes
