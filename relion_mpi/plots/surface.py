"""A map's surface, lit and shaded, without any library of graphics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from relion_mpi.fourier.resample import fourier_resized

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE_PIX = 208
"""Voxels of the grid that is looked at; small maps are interpolated, large ones made coarser."""
LIGHT = (-0.45, -0.6, -0.75)
"""Direction (right, down, into the picture) that light comes from: above, left of the eye."""
COLOUR = (0.66, 0.79, 0.92)
AMBIENT, DIFFUSE, GLOSS = 0.38, 0.66, 0.16
DEPTH_CUE, HOLLOW_CUE, HOLLOW_PIX = 0.30, 0.55, 7.0


def surface_views(
    volume: NDArray[np.floating], level: float, side_pix: int = SIDE_PIX, n_view: int = 3
) -> list[NDArray[np.uint8]]:
    """Look at the surface of a map along its axes.

    Parameters
    ----------
    volume : float (n, n, n)
        n even.
    level
        Contour.
    side_pix
        Side of the pictures.
    n_view
        Up to 3.

    Returns
    -------
    list of uint8 (side_pix, side_pix, 4)
        Red, green, blue, opacity. Seen along z, y and x; what is to the right and below is that
        of `relion_mpi.plots.montage.central_slices`, and no view is mirrored.
    """
    fine = fourier_resized(volume, side_pix)
    # right x down points into the picture: x, y -> z; x, z -> -y; y, z -> x
    seen = (fine, fine.transpose(1, 0, 2)[::-1], fine.transpose(2, 0, 1))
    return [_lit(one, level) for one in seen[:n_view]]


def first_crossing(
    volume: NDArray[np.floating], level: float
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Find where rays along the first axis meet a surface.

    Parameters
    ----------
    volume : float (n, n_y, n_x)
    level
        Contour.

    Returns
    -------
    hit : bool (n_y, n_x)
    depth : float64 (n_y, n_x)
        Interpolated index along the first axis; n where nothing is met.
    """
    inside = volume >= level
    first = inside.argmax(axis=0)
    hit: NDArray[np.bool_] = np.any(inside, axis=0, keepdims=False)
    y, x = np.indices(first.shape)
    after = volume[first, y, x].astype(np.float64)
    before = volume[np.maximum(first - 1, 0), y, x].astype(np.float64)
    rise = np.where(after > before, after - before, 1.0)
    back = np.where(first > 0, np.clip((after - level) / rise, 0.0, 1.0), 0.0)
    return hit, np.where(hit, first - back, volume.shape[0])


def _lit(volume: NDArray[np.float32], level: float) -> NDArray[np.uint8]:
    """Draw the surface that a viewer before index 0 of the first axis sees."""
    hit, depth = first_crossing(volume, level)
    normal = _normals(volume, np.where(hit, depth, 0.0))
    light = np.array(LIGHT) / np.linalg.norm(LIGHT)
    facing = np.clip(normal @ light, 0.0, None)
    # half-way between the light and the eye, which looks along the first axis
    half_way = light + np.array([0.0, 0.0, -1.0])
    gloss = np.clip(normal @ (half_way / np.linalg.norm(half_way)), 0.0, None) ** 24
    shade = AMBIENT + DIFFUSE * facing
    if hit.any():
        near, far = float(depth[hit].min()), float(depth[hit].max())
        shade *= 1.0 - DEPTH_CUE * (depth - near) / max(far - near, 1.0)
        shade *= 1.0 - HOLLOW_CUE * _hollowness(hit, depth)
    picture = np.empty((*hit.shape, 4))
    picture[..., :3] = np.clip(shade[..., None] * COLOUR + GLOSS * gloss[..., None], 0.0, 1.0)
    picture[..., 3] = _opacity(volume, level)
    # Half-covered pixels at the rim take the colour of the surface beside them.
    nearest = ndimage.distance_transform_edt(~hit, return_distances=False, return_indices=True)
    picture[..., :3] = picture[nearest[0], nearest[1], :3]
    return np.round(255.0 * picture).astype(np.uint8)


def _normals(volume: NDArray[np.float32], depth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return outward normals (right, down, into the picture) at the surface, (n_y, n_x, 3)."""
    last = volume.shape[0] - 2
    z = np.clip(np.round(depth).astype(np.int64), 1, last)
    y, x = (np.clip(index, 1, side - 2) for index, side in zip(
        np.indices(depth.shape), depth.shape, strict=True
    ))
    gradient = np.stack(
        [
            volume[z, y, x - 1] - volume[z, y, x + 1],
            volume[z, y - 1, x] - volume[z, y + 1, x],
            volume[z - 1, y, x] - volume[z + 1, y, x],
        ],
        axis=-1,
    ).astype(np.float64)
    length = np.linalg.norm(gradient, axis=-1, keepdims=True)
    normal: NDArray[np.float64] = gradient / np.maximum(length, 1e-12)
    return normal


def _hollowness(hit: NDArray[np.bool_], depth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Tell how far the surface lies behind what is around it, 0 to 1: grooves are dark."""
    weight = ndimage.gaussian_filter(hit.astype(np.float64), HOLLOW_PIX)
    around = ndimage.gaussian_filter(np.where(hit, depth, 0.0), HOLLOW_PIX)
    behind = np.where(hit, depth - around / np.maximum(weight, 1e-3), 0.0)
    hollow: NDArray[np.float64] = np.clip(behind / (3.0 * HOLLOW_PIX), 0.0, 1.0)
    return hollow


def _opacity(volume: NDArray[np.float32], level: float) -> NDArray[np.float64]:
    """Cover pixels at the rim by halves, by how far the densest voxel behind them is above."""
    highest = volume.max(axis=0).astype(np.float64)
    slope = np.hypot(*np.gradient(highest))
    covered: NDArray[np.float64] = np.clip(
        (highest - level) / np.maximum(slope, 1e-12) + 0.5, 0.0, 1.0
    )
    return covered
