"""Which Fourier pixels count, and to which shell they belong."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def round_half_away(values: NDArray[np.floating]) -> NDArray[np.int64]:
    """Round to the nearest integer, halves away from zero, as RELION's ROUND does.

    Parameters
    ----------
    values : float, any shape

    Returns
    -------
    int64, same shape
    """
    values = np.asarray(values, dtype=np.float64)
    rounded: NDArray[np.int64] = np.where(
        values > 0, np.floor(values + 0.5), np.ceil(values - 0.5)
    ).astype(np.int64)
    return rounded


@dataclass(frozen=True, slots=True)
class PixelList:
    """Pixels of a half transform (x >= 0, Friedel duplicates left out), sorted by radius.

    Attributes
    ----------
    x, y : int32 (n_pix,) logical indices, x in 0..n/2, y in -(n/2 - 1)..n/2
    radius : float64 (n_pix,) pixels, ascending
    """

    x: NDArray[np.int32]
    y: NDArray[np.int32]
    radius: NDArray[np.float64]

    @property
    def n_pix(self) -> int:
        """Number of pixels."""
        return self.x.size

    def count_within(self, radius_pix: float) -> int:
        """Return how many leading pixels lie within `radius_pix` (inclusive)."""
        return int(np.searchsorted(self.radius, radius_pix + 1e-9, side="right"))


@lru_cache(maxsize=64)
def pixel_list(box_size: int, radius_pix: float) -> PixelList:
    """List the independent pixels of a half transform within a radius, nearest first.

    Parameters
    ----------
    box_size
        Side of the image in pixels, even.
    radius_pix
        Largest radius kept (inclusive), at most box_size / 2.

    Returns
    -------
    PixelList
        A list with a smaller radius is a prefix of one with a larger radius.
    """
    half = box_size // 2
    grids = np.meshgrid(np.arange(half + 1), np.arange(-half + 1, half + 1), indexing="ij")
    x, y = (grid.ravel() for grid in grids)
    keep = (x * x + y * y <= radius_pix * radius_pix + 1e-9) & ~((x == 0) & (y < 0))
    x, y = x[keep], y[keep]
    order = np.lexsort((y, x, x * x + y * y))
    x, y = x[order], y[order]
    return PixelList(x.astype(np.int32), y.astype(np.int32), np.sqrt(x * x + y * y, dtype=float))


@lru_cache(maxsize=64)
def half_transform_shells(box_size: int) -> NDArray[np.int32]:
    """Give the shell of every pixel of a half transform, -1 where it does not count.

    Parameters
    ----------
    box_size
        Side of the image in pixels, even.

    Returns
    -------
    int32 (box_size, box_size // 2 + 1)
        Rounded radius up to box_size / 2; -1 in the corners and on the duplicated part of the
        x = 0 column. Agrees with RELION's Mresol arrays.
    """
    half = box_size // 2
    row = np.arange(box_size)
    y = np.where(row <= half, row, row - box_size)[:, None]
    x = np.arange(half + 1)[None, :]
    shells = round_half_away(np.sqrt(x * x + y * y))
    shells[(shells > half) | ((x == 0) & (y < 0))] = -1
    return shells.astype(np.int32)


@lru_cache(maxsize=64)
def pixels_per_shell(box_size: int) -> NDArray[np.int64]:
    """Count the independent pixels of each shell of a full-size image.

    Returns
    -------
    int64 (box_size // 2 + 1,)
        RELION's Npix_per_shell.
    """
    shells = half_transform_shells(box_size)
    return np.bincount(shells[shells >= 0], minlength=box_size // 2 + 1)


def shell_of_frequency(resolution_angst: float, box_size: int, pixel_size_angst: float) -> int:
    """Return the shell nearest to a resolution in Angstrom."""
    return int(round_half_away(np.array(box_size * pixel_size_angst / resolution_angst)))


def radius_grid(box_size: int, ndim: int) -> NDArray[np.float64]:
    """Distances from the centre voxel (index box_size // 2).

    Returns
    -------
    float64 (box_size,) * ndim, pixels
    """
    axis = (np.arange(box_size) - box_size // 2).astype(np.float64) ** 2
    total = axis
    for _ in range(ndim - 1):
        total = total[..., None] + axis
    return np.sqrt(total)


def half_transform_radius(box_size: int, ndim: int) -> NDArray[np.float64]:
    """Radii in shells of a half transform as `scipy.fft.rfftn` lays it out.

    Returns
    -------
    float64 (box_size, ..., box_size // 2 + 1)
    """
    full = np.fft.fftfreq(box_size, 1.0 / box_size) ** 2
    total = np.fft.rfftfreq(box_size, 1.0 / box_size) ** 2
    for _ in range(ndim - 1):
        total = full.reshape((-1,) + (1,) * total.ndim) + total
    radius: NDArray[np.float64] = np.sqrt(total)
    return radius


def padded_size(r_max: int, padding: int) -> int:
    """Side of the odd cube that holds a transform out to shell r_max, with a border of one."""
    return 2 * (padding * r_max + 1) + 1
