"""Slices of padded reference transforms: the specification of projection.

A 2D reference is a transform of one plane; its slices are that plane turned by psi.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from scipy import fft

from relion_mpi.backend.half_plane import n_rows
from relion_mpi.fourier.masks import sinc_squared
from relion_mpi.fourier.shells import padded_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

FAST = {"reassoc", "contract", "arcp", "nsz"}
"""fastmath flags that keep NaN and infinity honest."""
ON_THE_EDGE = 1.0 + 4e-6
"""Pixels exactly on the last shell count whatever the rotation, so rounding must not drop them."""


@dataclass(frozen=True, slots=True)
class References:
    """Padded transforms of the references of one half-set.

    Attributes
    ----------
    volume : float (n_class, size * size * (size // 2 + 1) * 2) flat; z and y centred, x from 0,
        real and imaginary parts interleaved; (n_class, size * (size // 2 + 1) * 2) if 2D
    size : side of the cube or square
    r_max : last shell
    padding : oversampling of the transform
    tiles : coarse slices kept between batches, filled by the exhaustive search
    """

    volume: NDArray[np.floating[Any]]
    size: int
    r_max: int
    padding: int
    tiles: dict[tuple[int, ...], NDArray[np.floating[Any]]] = field(default_factory=dict)

    @property
    def planar(self) -> bool:
        """They are 2D."""
        return bool(self.volume.shape[1] == 2 * n_rows(self.size))


def transform_reference(
    volume: NDArray[np.floating[Any]],
    r_max: int,
    padding: int,
    out: NDArray[np.floating[Any]],
) -> None:
    """Make the padded transform of a map.

    Parameters
    ----------
    volume : float (n, n, n), or (n, n) for a 2D reference
    r_max
        Last shell kept.
    padding
        Oversampling.
    out : float32 or float64 (size * size * (size // 2 + 1) * 2,), one size less for a 2D reference
        Output, as in `References`; scaled so that a slice is the transform of the projected image
        divided by n^2.

    Source
    ------
    RELION Projector::computeFourierTransformMap (agrees to rounding).
    """
    box, ndim = volume.shape[0], volume.ndim
    big = padding * box
    corrected = (volume / sinc_squared(box, padding, ndim)).astype(out.dtype)
    padded = np.zeros((big,) * ndim, out.dtype)
    padded[np.ix_(*[(np.arange(box) - box // 2) % big] * ndim)] = corrected
    del corrected
    transform = fft.rfftn(padded, workers=-1)
    del padded
    reach = padding * r_max
    size = padded_size(r_max, padding)
    index = np.arange(-reach, reach + 1)
    complex_out = out.view(transform.dtype).reshape(-1, size, size // 2 + 1)
    complex_out[...] = 0
    squared = index.astype(np.float64) ** 2
    radius2 = squared[:, None] + np.arange(reach + 1) ** 2
    # Plane by plane: masks and copies of whole volumes would be as large as the result.
    planes = zip(index, complex_out[1:-1], strict=True) if ndim == 3 else ((0, complex_out[0]),)
    for z, plane in planes:
        source = transform[z % big] if ndim == 3 else transform
        inside = plane[1:-1, : reach + 1]
        inside[...] = source[index % big, : reach + 1]
        inside *= (float(z) ** 2 + radius2 <= reach**2) / float(box) ** 2


@numba.njit(cache=True)
def reach_limit(volume, reach):  # type: ignore[no-untyped-def]
    """Square of the largest radius, with room for the rounding of rotated positions.

    Pixels exactly on the last shell are inside whatever their rotation.
    """
    return volume.dtype.type(reach * reach * (1.0 + 1e-5))


@numba.njit(cache=True)
def slice_scratch(volume, n_pix):  # type: ignore[no-untyped-def]
    """Make the work space of `slice_into` for n_pix pixels."""
    return np.empty(n_pix, np.uint64), np.empty((9, n_pix), volume.dtype)


@numba.njit(cache=True, fastmath=FAST)
def locate(volume, size, reach, rows, sx, sy, n_pix, index, work):  # type: ignore[no-untyped-def]
    """Find the cell of every pixel: its first corner, fractions, and whether it counts.

    index (n_pix,) gets the corner; work (5, n_pix) the fractions in x, y, z, then 1 or 0 for
    inside or outside, then the same with the sign of the imaginary part. Outside pixels read the
    origin's cell, so that nothing branches.
    """
    one, zero = volume.dtype.type(1), volume.dtype.type(0)
    limit = volume.dtype.type(reach * reach * ON_THE_EDGE)
    origin = volume.dtype.type(size // 2)
    row = np.int32(2 * (size // 2 + 1))
    side = np.int32(size)
    for k in range(n_pix):
        x = sx[k]
        y = sy[k]
        px = x * rows[0] + y * rows[3]
        py = x * rows[1] + y * rows[4]
        pz = x * rows[2] + y * rows[5]
        inside = one if px * px + py * py + pz * pz <= limit else zero
        sign = inside if px >= zero else -inside
        px *= sign
        py = py * sign + origin
        pz = pz * sign + origin
        x0, y0, z0 = np.int32(px), np.int32(py), np.int32(pz)
        work[0, k] = px - volume.dtype.type(x0)
        work[1, k] = py - volume.dtype.type(y0)
        work[2, k] = pz - volume.dtype.type(z0)
        work[3, k] = inside
        work[4, k] = sign
        index[k] = np.uint64(np.int64(z0 * side + y0) * row + 2 * x0)


@numba.njit(cache=True, fastmath=FAST)
def slice_volume_into(volume, size, reach, rows, sx, sy, n_pix, re, im, scratch):  # type: ignore[no-untyped-def]
    """Write one slice of a 3D reference; parameters as of `slice_into`.

    Three simple loops: positions, a gather of the two x neighbours of real and imaginary part as
    four lanes, and the last interpolation. Unsigned indices spare numba's test for negative ones.
    """
    index, work = scratch
    locate(volume, size, reach, rows, sx, sy, n_pix, index, work)
    one = volume.dtype.type(1)
    next_y = np.uint64(2 * (size // 2 + 1))
    next_z = np.uint64(size) * next_y
    u1, u2, u3 = np.uint64(1), np.uint64(2), np.uint64(3)
    lanes = work[5:].reshape(-1)
    for k in range(n_pix):
        fy, fz = work[1, k], work[2, k]
        gy, gz = one - fy, one - fz
        w00, w01, w10, w11 = gz * gy, gz * fy, fz * gy, fz * fy
        a = index[k]
        b = a + next_y
        c = a + next_z
        d = c + next_y
        t = np.uint64(4 * k)
        lanes[t] = w00 * volume[a] + w01 * volume[b] + w10 * volume[c] + w11 * volume[d]
        lanes[t + u1] = (
            w00 * volume[a + u1] + w01 * volume[b + u1]
            + w10 * volume[c + u1] + w11 * volume[d + u1]
        )  # fmt: skip
        lanes[t + u2] = (
            w00 * volume[a + u2] + w01 * volume[b + u2]
            + w10 * volume[c + u2] + w11 * volume[d + u2]
        )  # fmt: skip
        lanes[t + u3] = (
            w00 * volume[a + u3] + w01 * volume[b + u3]
            + w10 * volume[c + u3] + w11 * volume[d + u3]
        )  # fmt: skip
    for k in range(n_pix):
        fx = work[0, k]
        gx = one - fx
        re[k] = work[3, k] * (gx * lanes[4 * k] + fx * lanes[4 * k + 2])
        im[k] = work[4, k] * (gx * lanes[4 * k + 1] + fx * lanes[4 * k + 3])


@numba.njit(cache=True, fastmath=FAST)
def slice_plane_into(plane, size, reach, rows, sx, sy, n_pix, re, im, scratch):  # type: ignore[no-untyped-def]
    """Write one slice of a 2D reference, the plane turned; parameters as of `slice_into`.

    Loops as for a volume, with what a rotation in the plane leaves of them.
    """
    index, work = scratch
    one, zero = plane.dtype.type(1), plane.dtype.type(0)
    limit = plane.dtype.type(reach * reach * ON_THE_EDGE)
    origin = plane.dtype.type(size // 2)
    row = np.int32(2 * (size // 2 + 1))
    for k in range(n_pix):
        px = sx[k] * rows[0] + sy[k] * rows[3]
        py = sx[k] * rows[1] + sy[k] * rows[4]
        inside = one if px * px + py * py <= limit else zero
        sign = inside if px >= zero else -inside
        px *= sign
        py = py * sign + origin
        x0, y0 = np.int32(px), np.int32(py)
        work[0, k] = px - plane.dtype.type(x0)
        work[1, k] = py - plane.dtype.type(y0)
        work[3, k] = inside
        work[4, k] = sign
        index[k] = np.uint64(y0 * row + 2 * x0)
    next_y = np.uint64(row)
    u1, u2, u3 = np.uint64(1), np.uint64(2), np.uint64(3)
    lanes = work[5:].reshape(-1)
    for k in range(n_pix):
        fy = work[1, k]
        gy = one - fy
        a = index[k]
        b = a + next_y
        t = np.uint64(4 * k)
        lanes[t] = gy * plane[a] + fy * plane[b]
        lanes[t + u1] = gy * plane[a + u1] + fy * plane[b + u1]
        lanes[t + u2] = gy * plane[a + u2] + fy * plane[b + u2]
        lanes[t + u3] = gy * plane[a + u3] + fy * plane[b + u3]
    for k in range(n_pix):
        fx = work[0, k]
        gx = one - fx
        re[k] = work[3, k] * (gx * lanes[4 * k] + fx * lanes[4 * k + 2])
        im[k] = work[4, k] * (gx * lanes[4 * k + 1] + fx * lanes[4 * k + 3])


@numba.njit(cache=True)
def slice_into(volume, size, reach, rows, sx, sy, n_pix, re, im, scratch):  # type: ignore[no-untyped-def]
    """Write one slice.

    Parameters
    ----------
    volume : float flat transform of a volume (size, size, size // 2 + 1, 2), or of a single plane
        (size, size // 2 + 1, 2), whose slices are turned in the plane
    size, reach : side of the cube or square; padding * r_max
    rows : float (6,) first two rows of the rotation, times padding
    sx, sy : float (n,) positions in model pixels
    n_pix : leading pixels to do
    re, im : float (n_pix,) output
    scratch : of `slice_scratch`, for at least n_pix pixels
    """
    if volume.size == 2 * size * (size // 2 + 1):
        slice_plane_into(volume, size, reach, rows, sx, sy, n_pix, re, im, scratch)
    else:
        slice_volume_into(volume, size, reach, rows, sx, sy, n_pix, re, im, scratch)


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
        scratch = slice_scratch(volume, n_pix)
        slice_into(
            volume, size, reach, all_rows[i], sx, sy, n_pix, out[i, :n_pix], out[i, n_pix:], scratch
        )
