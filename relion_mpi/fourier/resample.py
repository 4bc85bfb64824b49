"""Maps on another grid: pixel size by cropping or padding the transform, box in real space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

if TYPE_CHECKING:
    from numpy.typing import NDArray

PIXEL_SIZE_TOLERANCE = 2e-4
"""Relative error of the new pixel size that is accepted; 0.02 A at 100 A from the centre."""


def windowed(volume: NDArray[np.floating], box_size: int) -> NDArray[np.floating]:
    """Crop a map, or pad it with zeros, keeping its centre voxel at the centre.

    Parameters
    ----------
    volume : float (n,) * ndim
    box_size
        New side.

    Returns
    -------
    float (box_size,) * ndim
    """
    n = volume.shape[0]
    if n == box_size:
        return volume
    out = np.zeros((box_size,) * volume.ndim, volume.dtype)
    kept = min(n, box_size)
    lo, hi = n // 2 - kept // 2, box_size // 2 - kept // 2
    source = (slice(lo, lo + kept),) * volume.ndim
    out[(slice(hi, hi + kept),) * volume.ndim] = volume[source]
    return out


def fourier_resized(volume: NDArray[np.floating], box_size: int) -> NDArray[np.float32]:
    """Change the number of voxels over the same physical extent, grey values kept.

    Parameters
    ----------
    volume : float (n,) * ndim, n even, ndim 2 or 3
    box_size
        New side, even.

    Returns
    -------
    float32 (box_size,) * ndim
        Centred at box_size // 2; frequencies of the smaller grid's Nyquist planes are left out.
    """
    n, ndim = volume.shape[0], volume.ndim
    if n == box_size:
        return volume.astype(np.float32, copy=False)
    transform = fft.rfftn(fft.ifftshift(volume.astype(np.float32, copy=False)), workers=-1)
    half = min(n, box_size) // 2
    index = np.arange(-half + 1, half)
    new = np.zeros((*(box_size,) * (ndim - 1), box_size // 2 + 1), transform.dtype)
    common = np.ix_(*(index,) * (ndim - 1), np.arange(half))
    new[common] = transform[common]
    scale = (box_size / n) ** ndim
    out = fft.irfftn(new, s=(box_size,) * ndim, workers=-1) * np.float32(scale)
    return np.asarray(fft.fftshift(out), np.float32)


def resample(
    volume: NDArray[np.floating],
    pixel_size_angst: float,
    new_box_size: int,
    new_pixel_size_angst: float,
) -> NDArray[np.float32]:
    """Put a map or image on another grid with the same centre.

    Parameters
    ----------
    volume : float (n,) * ndim, ndim 2 or 3
    pixel_size_angst, new_pixel_size_angst
        Angstrom.
    new_box_size
        Even.

    Returns
    -------
    float32 (new_box_size,) * ndim
    """
    ratio = pixel_size_angst / new_pixel_size_angst
    n = volume.shape[0] + volume.shape[0] % 2
    if abs(ratio - 1.0) > PIXEL_SIZE_TOLERANCE:
        # Only even sides can be cropped to: pad until the ratio of two even sides is right.
        sides = np.arange(n, 2 * n + 2, 2)
        targets = 2 * np.maximum(np.round(sides * ratio / 2), 1)
        errors = np.abs(targets / (sides * ratio) - 1.0)
        good = np.flatnonzero(errors < PIXEL_SIZE_TOLERANCE)
        best = int(good[0]) if good.size else int(errors.argmin())
        volume = fourier_resized(windowed(volume, int(sides[best])), int(targets[best]))
    return windowed(volume, new_box_size).astype(np.float32, copy=False)
