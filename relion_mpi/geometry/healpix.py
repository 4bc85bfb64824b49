"""Equal-area grid of directions: HEALPix pixels in NESTED order."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]

# Ring (in units of n_side) and phi (in units of 45 degrees) of the lowest corner of each of the 12
# base pixels.
_FACE_RING = np.array([2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4], np.int64)
_FACE_PHI = np.array([1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7], np.int64)


def n_pixels(order: int) -> int:
    """Return the number of pixels, 12 * 4**order.

    Parameters
    ----------
    order
        HEALPix order, 0 or more.

    Returns
    -------
    int
        Number of pixels of the whole sphere.
    """
    return 12 << (2 * order)


def pixel_angles(order: int) -> tuple[Float64Array, Float64Array]:
    """Return the view angles of all pixel centres in NESTED order.

    Parameters
    ----------
    order
        HEALPix order, 0 or more.

    Returns
    -------
    tuple[Float64Array, Float64Array]
        rot_deg in (-180, 180] and tilt_deg in (0, 180), each float64 (12 * 4**order,).

    Notes
    -----
    Source: Gorski et al. 2005, ApJ 622, 759, equations 4 to 9; rot is phi and tilt is theta.
    """
    return angles_of_pixels(order, np.arange(n_pixels(order), dtype=np.int64))


def angles_of_pixels(order: int, pixels: ArrayLike) -> tuple[Float64Array, Float64Array]:
    """Return the view angles of the centres of some pixels.

    Parameters
    ----------
    order
        HEALPix order, 0 or more.
    pixels
        int64 (n,) NESTED pixel numbers of this order.

    Returns
    -------
    tuple[Float64Array, Float64Array]
        rot_deg in (-180, 180] and tilt_deg, each float64 (n,).

    Notes
    -----
    Source: as `pixel_angles`.
    """
    pixel = np.asarray(pixels, np.int64)
    n_side = 1 << order
    face, within = np.divmod(pixel, n_side * n_side)
    x, y = _deinterleave(within, order), _deinterleave(within >> 1, order)
    ring = _FACE_RING[face] * n_side - x - y - 1  # 1 is north, 4 n_side - 1 south
    in_ring = np.minimum(np.minimum(ring, 4 * n_side - ring), n_side)  # a quarter of its pixels
    # Number along the ring, counted in half pixels from phi = 0, so that no rounding occurs before
    # the division.
    half_steps = (_FACE_PHI[face] * in_ring + x - y) % (8 * in_ring)
    rot_deg = 45.0 * half_steps / in_ring
    rot_deg = np.where(rot_deg > 180.0, rot_deg - 360.0, rot_deg)
    polar = in_ring < n_side
    cos_polar = 1.0 - in_ring * in_ring / (3.0 * n_side * n_side)
    cos_tilt = np.where(
        polar,
        np.where(ring < n_side, cos_polar, -cos_polar),
        (2 * n_side - ring) * 2.0 / (3.0 * n_side),
    )
    return rot_deg, np.degrees(np.arccos(cos_tilt))


def _deinterleave(bits: Int64Array, order: int) -> Int64Array:
    """Return the number made of bits 0, 2, 4, ... of each value."""
    packed = np.zeros_like(bits)
    for k in range(order):
        packed |= ((bits >> (2 * k)) & 1) << k
    return packed


def children(pixels: ArrayLike, oversampling: int) -> Int64Array:
    """Return the pixels of a finer order that make up each pixel, in RELION's order.

    Parameters
    ----------
    pixels
        int64 (n,) NESTED pixel numbers.
    oversampling
        How many orders finer, 0 or more.

    Returns
    -------
    Int64Array
        int64 (n, 4**oversampling) NESTED pixel numbers of the finer order; x is the fastest, y the
        slowest.

    Notes
    -----
    Source: RELION healpix_sampling.cpp, pushbackOversampledPointsForDirections.
    """
    pixel = np.asarray(pixels, np.int64).reshape(-1)
    side = 1 << oversampling
    j, i = np.divmod(np.arange(side * side, dtype=np.int64), side)
    order_within = np.zeros_like(i)
    for k in range(oversampling):
        order_within |= (((i >> k) & 1) << (2 * k)) | (((j >> k) & 1) << (2 * k + 1))
    return np.asarray((pixel * (side * side))[:, None] + order_within, np.int64)


def max_pixel_radius_rad(order: int) -> float:
    """Return the largest angle between the centre and a corner of any pixel.

    Parameters
    ----------
    order
        HEALPix order, 0 or more.

    Returns
    -------
    float
        Radians.

    Notes
    -----
    Source: Healpix_Base max_pixrad: the corner towards the pole of a pixel at cos(theta) = 2/3.
    """
    n_side = 1 << order
    phi, z_centre = np.pi / (4 * n_side), 2.0 / 3.0
    z_corner = 1.0 - (1.0 - 1.0 / n_side) ** 2 / 3.0
    sine_product = np.sqrt((1.0 - z_centre**2) * (1.0 - z_corner**2))
    return float(np.arccos(z_centre * z_corner + sine_product * np.cos(phi)))
