"""Maps on another grid: Fourier resampling, and cropping or padding of the box."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

if TYPE_CHECKING:
    from numpy.typing import NDArray


def resample(volume: NDArray[np.floating], new_box: int) -> NDArray[np.float64]:
    """Change the number of voxels across the same extent; grey values are kept.

    Parameters
    ----------
    volume : float (n, n, n), n even
    new_box
        Even.

    Returns
    -------
    float64 (new_box, new_box, new_box)

    Source
    ------
    RELION resizeMap.
    """
    box = volume.shape[0]
    if new_box == box:
        return np.asarray(volume, dtype=np.float64)
    transform = fft.rfftn(fft.ifftshift(np.asarray(volume, dtype=np.float64)), workers=-1)
    reach = min(box, new_box) // 2
    index = np.arange(-reach + 1, reach)
    x = np.arange(reach)
    out = np.zeros((new_box, new_box, new_box // 2 + 1), np.complex128)
    out[np.ix_(index % new_box, index % new_box, x)] = transform[np.ix_(index % box, index % box, x)]
    factor = (new_box / box) ** 3
    return fft.fftshift(fft.irfftn(out, s=(new_box,) * 3, workers=-1)) * factor


def fit_box(volume: NDArray[np.floating], new_box: int) -> NDArray[np.float64]:
    """Crop or zero-pad a map about its centre.

    Parameters
    ----------
    volume : float (n, n, n)
    new_box
        Side of the result.
    """
    box = volume.shape[0]
    out = np.zeros((new_box,) * 3)
    n = min(box, new_box)
    source, target = box // 2 - n // 2, new_box // 2 - n // 2
    take, put = slice(source, source + n), slice(target, target + n)
    out[put, put, put] = volume[take, take, take]
    return out
