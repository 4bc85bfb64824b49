"""Soft masks in real space and raised-cosine filters in Fourier space."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

from relion_mpi.fourier.sections import scale_by_radius, sections_of
from relion_mpi.fourier.shells import half_transform_radius, radius_grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILTER_EDGE_SHELLS = 2
"""Width of the raised cosine of low-pass filters (RELION's WIDTH_FMASK_EDGE)."""


def soft_sphere(
    box_size: int, radius_pix: float, edge_pix: float, ndim: int
) -> NDArray[np.float64]:
    """Make a sphere (or disc) with a raised-cosine edge.

    Parameters
    ----------
    box_size
        Side in pixels.
    radius_pix, edge_pix
        1 within radius_pix, 0 beyond radius_pix + edge_pix.
    ndim
        2 or 3.

    Returns
    -------
    float64 (box_size,) * ndim, in 0..1
        Discs are kept and shared, so they are read-only.

    Source
    ------
    RELION softMaskOutsideMap and solventFlatten.
    """
    if ndim == 2:
        return _soft_disc(box_size, float(radius_pix), float(edge_pix))
    squares = (np.arange(box_size) - box_size // 2) ** 2
    plane = squares[:, None] + squares[None, :]
    table = _soft_edge(np.sqrt(np.arange(3 * squares.max() + 1)), radius_pix, edge_pix)
    ball = np.empty((box_size,) * 3)
    for section, square in zip(ball, squares.tolist(), strict=True):
        np.take(table[square:], plane, out=section)
    return ball


@lru_cache(maxsize=8)
def _soft_disc(box_size: int, radius_pix: float, edge_pix: float) -> NDArray[np.float64]:
    """Make the mask of images, which every batch asks for."""
    disc = _soft_edge(radius_grid(box_size, 2), radius_pix, edge_pix)
    disc.flags.writeable = False
    return disc


def _soft_edge(
    radius: NDArray[np.float64], radius_pix: float, edge_pix: float
) -> NDArray[np.float64]:
    """Fall from 1 to 0 beyond a radius."""
    outer = radius_pix + edge_pix
    edge = 0.5 - 0.5 * np.cos(np.pi * (outer - radius) / edge_pix)
    return np.where(radius < radius_pix, 1.0, np.where(radius > outer, 0.0, edge))


def mask_outside_to_mean(
    volume: NDArray[np.floating], radius_pix: float, edge_pix: float
) -> NDArray[np.float64]:
    """Fade a map or image to the mean of its outside beyond a radius.

    Parameters
    ----------
    volume : float (n, n) or (n, n, n)
    radius_pix, edge_pix
        As in `soft_sphere`.

    Returns
    -------
    float64, same shape

    Source
    ------
    RELION softMaskOutsideMap.
    """
    inside = soft_sphere(volume.shape[0], radius_pix, edge_pix, volume.ndim)
    outside = 1.0 - inside
    total = outside.sum()
    mean = float((outside * volume).sum() / total) if total > 0 else 0.0
    return inside * volume + outside * mean


def lowpass_profile(radius: NDArray[np.floating], cutoff_shell: float) -> NDArray[np.float64]:
    """Evaluate the raised-cosine low-pass of RELION's initialLowPassFilterReferences.

    Parameters
    ----------
    radius : float, any shape, shells
    cutoff_shell
        N * pixel_size / resolution.

    Returns
    -------
    float64, same shape, 1 below cutoff_shell - 1 and 0 above cutoff_shell + 1
    """
    low = cutoff_shell - FILTER_EDGE_SHELLS / 2
    high = cutoff_shell + FILTER_EDGE_SHELLS / 2
    edge = 0.5 - 0.5 * np.cos(np.pi * (high - radius) / FILTER_EDGE_SHELLS)
    return np.where(radius < low, 1.0, np.where(radius > high, 0.0, edge))


def lowpass(
    volume: NDArray[np.floating], pixel_size_angst: float, resolution_angst: float
) -> NDArray[np.float64]:
    """Low-pass a map or image with the raised cosine RELION uses for references.

    Parameters
    ----------
    volume : float (n, n) or (n, n, n)
    pixel_size_angst, resolution_angst
        Angstrom.

    Returns
    -------
    float64, same shape
    """
    box_size = volume.shape[0]
    transform = fft.rfftn(np.asarray(volume, dtype=np.float64), workers=-1)
    cutoff = box_size * pixel_size_angst / resolution_angst
    if volume.ndim == 3 and box_size % 2 == 0:
        scale_by_radius(transform, lowpass_profile(sections_of(box_size).radius(), cutoff))
    else:
        transform *= lowpass_profile(half_transform_radius(box_size, volume.ndim), cutoff)
    filtered: NDArray[np.float64] = fft.irfftn(
        transform, s=volume.shape, workers=-1, overwrite_x=True
    )
    return filtered


def sinc_squared(box_size: int, padding: float, ndim: int) -> NDArray[np.float64]:
    """Real-space roll-off of trilinear interpolation on a padded Fourier grid.

    Returns
    -------
    float64 (box_size,) * ndim
        sinc(r / (box_size * padding))^2, radial as in RELION's griddingCorrect.
    """
    return np.sinc(radius_grid(box_size, ndim) / (box_size * padding)) ** 2
