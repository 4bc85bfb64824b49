"""Images on another grid of the same extent, by their transforms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

if TYPE_CHECKING:
    from numpy.typing import NDArray


def rescale(images: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Crop or pad transforms, grey values kept.

    Parameters
    ----------
    images : float32 (n, m, m), m even
        Of mean near 0, for single precision's sake.
    side
        New side, even.

    Returns
    -------
    float32 (n, side, side)
        Pixel 0 stays pixel 0, hence centre stays centre.

    Notes
    -----
    Smaller images keep the row and the column at their Nyquist frequency, positive sign; in larger
    ones the frequencies beyond the old Nyquist circle are 0.

    Source
    ------
    RELION resizeMap, by its output. `relion_mpi.fourier.resample.fourier_resized` is for maps and
    leaves the Nyquist planes out.
    """
    old = images.shape[-1]
    half = min(side, old) // 2
    # Columns that are not needed are dropped before the transforms along y.
    columns = fft.rfft(images, axis=2)[:, :, : half + 1]
    transform = fft.fft(columns, axis=1, overwrite_x=True)
    new = np.zeros((images.shape[0], side, half + 1), transform.dtype)
    new[:, : half + 1] = transform[:, : half + 1]
    new[:, side - half + 1 :] = transform[:, old - half + 1 :]
    if side > old:
        y = np.minimum(np.arange(side), side - np.arange(side))
        new[:, y[:, None] ** 2 + np.arange(half + 1) ** 2 > half**2] = 0
    lines = fft.ifft(new, axis=1, overwrite_x=True)
    out = fft.irfft(lines, side, axis=2, overwrite_x=True)
    out *= np.float32((side / old) ** 2)
    return np.asarray(out, np.float32)
