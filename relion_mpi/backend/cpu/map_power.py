"""Power of a map's padded transform per shell, without ever holding the whole transform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from scipy import fft

from relion_mpi.backend.cpu.voxels import shell_of
from relion_mpi.fourier.masks import sinc_squared

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNK_BYTES = 2**26
"""Most bytes of the part of the transform that is finished at a time."""


def map_power(
    volume: NDArray[np.floating[Any]], r_max: int, padding: int
) -> NDArray[np.float64]:
    """Measure a reference's power per shell; see `relion_mpi.backend.volumes.VolumeBackend`."""
    box = volume.shape[0]
    big, reach, n_shell = padding * box, padding * r_max, box // 2 + 1
    # Axis by axis: only what is not zero goes in, and only what lies within reach is kept.
    half = fft.rfft(volume / sinc_squared(box, padding, 3), n=big, axis=2, workers=-1)
    half = half[:, :, : reach + 1]
    rows = np.arange(-min(reach, big // 2 - 1), reach + 1)  # one Nyquist row, the positive one
    half = fft.fft(half, n=big, axis=1, workers=-1)[:, rows % big]
    step = max(1, CHUNK_BYTES // (16 * big * (reach + 1)))
    total = np.zeros((2, n_shell))
    for start in range(0, rows.size, step):
        part = slice(start, start + step)
        columns = fft.fft(half[:, part], n=big, axis=0, workers=-1)
        total += _powers(columns, rows[part], reach, padding, n_shell)
    power, count = total
    scaled: NDArray[np.float64] = np.divide(power, count, out=power, where=count > 0)
    return scaled * (0.5 / float(box) ** 4)


@numba.njit(cache=True, parallel=True)
def _powers(columns, rows, reach, padding, n_shell):  # type: ignore[no-untyped-def]
    """Sum squared moduli and voxels within reach, inclusive, per shell: float64 (2, n_shell).

    Parameters
    ----------
    columns : complex128 (big, n_row, reach + 1), z wrapped, x from 0
    rows : int64 (n_row,) y
    """
    big, n_row, n_x = columns.shape
    found = np.zeros((n_row, 2, n_shell))
    for i in numba.prange(n_row):
        mine = found[i]
        for z in range(big):
            kz = z if 2 * z <= big else z - big
            base = rows[i] ** 2 + kz**2
            for x in range(n_x):
                r2 = base + x * x
                if r2 > reach * reach:
                    break
                value = columns[z, i, x]
                s = shell_of(r2, padding)
                mine[0, s] += value.real**2 + value.imag**2
                mine[1, s] += 1.0
    total = np.zeros((2, n_shell))
    for i in range(n_row):
        total += found[i]
    return total
