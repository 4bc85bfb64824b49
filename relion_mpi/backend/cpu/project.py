"""Slices of padded reference transforms: the specification of projection."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from scipy import fft

from relion_mpi.fourier.masks import sinc_squared
from relion_mpi.fourier.shells import padded_size

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

FAST = {"reassoc", "contract", "arcp", "nsz"}
"""fastmath flags that keep NaN and infinity honest."""


@dataclass(frozen=True, slots=True)
class References:
    """Padded transforms of the references of one half-set.

    Attributes
    ----------
    volume : float (n_class, size * size * (size // 2 + 1) * 2) flat; z and y centred, x from 0,
        real and imaginary parts interleaved
    size : side of the cube
    r_max : last shell
    padding : oversampling of the transform
    tiles : coarse slices kept between batches, filled by the exhaustive search
    """

    volume: NDArray[np.floating[Any]]
    size: int
    r_max: int
    padding: int
    tiles: dict[tuple[int, ...], NDArray[np.floating[Any]]] = field(default_factory=dict)


def transform_reference(
    volume: NDArray[np.floating[Any]], r_max: int, padding: int, dtype: DTypeLike
) -> NDArray[np.floating[Any]]:
    """Make the padded transform of a map.

    Parameters
    ----------
    volume : float (n, n, n)
    r_max
        Last shell kept.
    padding
        Oversampling.
    dtype
        float32 or float64.

    Returns
    -------
    dtype (size, size, size // 2 + 1, 2)
        Scaled so that a slice is the transform of the projected image divided by n^2.

    Source
    ------
    RELION Projector::computeFourierTransformMap (agrees to rounding).
    """
    box = volume.shape[0]
    big = padding * box
    corrected = (volume / sinc_squared(box, padding, 3)).astype(dtype)
    padded = np.zeros((big,) * 3, dtype)
    start = big // 2 - box // 2
    padded[start : start + box, start : start + box, start : start + box] = corrected
    transform = fft.rfftn(fft.ifftshift(padded), workers=-1, overwrite_x=True)
    del padded
    reach = padding * r_max
    size = padded_size(r_max, padding)
    index = np.arange(-reach, reach + 1)
    out = np.zeros((size, size, size // 2 + 1), transform.dtype)
    inside = (slice(1, -1), slice(1, -1), slice(0, reach + 1))
    out[inside] = transform[np.ix_(index % big, index % big, np.arange(reach + 1))]
    squared = index.astype(np.float64) ** 2
    radius2 = squared[:, None, None] + squared[None, :, None] + np.arange(reach + 1) ** 2
    out[inside] *= (radius2 <= reach**2) / float(box) ** 2
    return np.ascontiguousarray(out).view(dtype).reshape(size, size, size // 2 + 1, 2)


@numba.njit(cache=True, fastmath=FAST, inline="always")
def sample(volume, size, half, origin, px, py, pz):  # type: ignore[no-untyped-def]
    """Interpolate at a padded position with px >= 0; return (re, im)."""
    x0 = int(px)
    y0 = int(py + origin)
    z0 = int(pz + origin)
    fx = px - volume.dtype.type(x0)
    fy = py + origin - volume.dtype.type(y0)
    fz = pz + origin - volume.dtype.type(z0)
    base = ((z0 * size + y0) * half + x0) * 2
    row = half * 2
    plane = size * row
    a = base
    re00 = volume[a] + fx * (volume[a + 2] - volume[a])
    im00 = volume[a + 1] + fx * (volume[a + 3] - volume[a + 1])
    a = base + row
    re01 = volume[a] + fx * (volume[a + 2] - volume[a])
    im01 = volume[a + 1] + fx * (volume[a + 3] - volume[a + 1])
    a = base + plane
    re10 = volume[a] + fx * (volume[a + 2] - volume[a])
    im10 = volume[a + 1] + fx * (volume[a + 3] - volume[a + 1])
    a = base + plane + row
    re11 = volume[a] + fx * (volume[a + 2] - volume[a])
    im11 = volume[a + 1] + fx * (volume[a + 3] - volume[a + 1])
    re0 = re00 + fy * (re01 - re00)
    im0 = im00 + fy * (im01 - im00)
    re1 = re10 + fy * (re11 - re10)
    im1 = im10 + fy * (im11 - im10)
    return re0 + fz * (re1 - re0), im0 + fz * (im1 - im0)


@numba.njit(cache=True, fastmath=FAST)
def slice_into(volume, size, reach, rows, sx, sy, n_pix, re, im):  # type: ignore[no-untyped-def]
    """Write one slice.

    Parameters
    ----------
    volume : float (size * size * (size // 2 + 1) * 2,) flat transform
    size, reach : side of the cube; padding * r_max
    rows : float (6,) first two rows of the rotation, times padding
    sx, sy : float (n,) positions in model pixels
    n_pix : leading pixels to do
    re, im : float (n_pix,) output
    """
    half = size // 2 + 1
    origin = volume.dtype.type(size // 2)
    limit = volume.dtype.type(reach) * volume.dtype.type(reach)
    zero = volume.dtype.type(0)
    for k in range(n_pix):
        x = sx[k]
        y = sy[k]
        px = x * rows[0] + y * rows[3]
        py = x * rows[1] + y * rows[4]
        pz = x * rows[2] + y * rows[5]
        if px * px + py * py + pz * pz > limit:
            re[k] = zero
            im[k] = zero
        elif px < zero:
            a, b = sample(volume, size, half, origin, -px, -py, -pz)
            re[k] = a
            im[k] = -b
        else:
            a, b = sample(volume, size, half, origin, px, py, pz)
            re[k] = a
            im[k] = b


@numba.njit(cache=True)
def rotation_rows(direction, cos_psi, sin_psi, padding, rows):  # type: ignore[no-untyped-def]
    """Write the first two rows of Rz(psi) @ direction, times padding, into rows (6,)."""
    for j in range(3):
        rows[j] = padding * (cos_psi * direction[0, j] + sin_psi * direction[1, j])
        rows[3 + j] = padding * (cos_psi * direction[1, j] - sin_psi * direction[0, j])


@numba.njit(cache=True, parallel=True)
def slices(volume, size, reach, all_rows, sx, sy, n_pix, out):  # type: ignore[no-untyped-def]
    """Write slices as [real parts | imaginary parts].

    Parameters
    ----------
    all_rows : float (n, 6) as `rotation_rows` makes them
    out : float (n, 2 * n_pix)
    """
    for i in numba.prange(all_rows.shape[0]):
        slice_into(
            volume, size, reach, all_rows[i], sx, sy, n_pix, out[i, :n_pix], out[i, n_pix:]
        )
