"""The resolution within one window, and the map filtered to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

from relion_mpi.fourier.correlation import correlation_of
from relion_mpi.fourier.masks import lowpass_profile
from relion_mpi.fourier.sections import sections_of
from relion_mpi.postprocess.curves import corrected_fsc, shell_of_resolution
from relion_mpi.postprocess.locres.kernels import add_powers, scale_by_squared_radius
from relion_mpi.postprocess.sharpening import fsc_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.postprocess.locres.layout import Layout


@dataclass(frozen=True, slots=True)
class LocalMaps:
    """What windows are cut from.

    Attributes
    ----------
    halves : two float32 (n, n, n)
    randomised : two float32 (n, n, n), their phases random from a shell on
    whole : float32 (n, n, n), the sum of the halves, sharpened
    """

    halves: tuple[NDArray[np.float32], NDArray[np.float32]]
    randomised: tuple[NDArray[np.float32], NDArray[np.float32]]
    whole: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LocalCurves:
    """FSC within one window, by shell of the whole map.

    Attributes
    ----------
    masked, randomised, corrected : float64 (n // 2 + 1,)
    resolution_angst : last shell before the corrected curve first falls below 0.143
    """

    masked: NDArray[np.float64]
    randomised: NDArray[np.float64]
    corrected: NDArray[np.float64]
    resolution_angst: float


class Windows:
    """Measures windows of one layout; may be shared by threads.

    Parameters
    ----------
    layout
        Where windows lie.
    maps
        What they are cut from.
    """

    def __init__(self, layout: Layout, maps: LocalMaps) -> None:
        self.layout = layout
        self.mask = layout.soft_mask()
        self._maps = maps
        size = layout.window_size
        sections = sections_of(size)
        squared = np.stack([sections.squared_radius(k) for k in range(size)])
        self._squared = squared.ravel()
        self._shells = sections.shell()[self._squared].astype(np.int16)
        self._radius = sections.radius()
        # Shells of the whole map are finer than those of a window by this.
        self._finer = layout.box_size / size
        self._last = layout.box_size // 2

    def corner(self, number: int) -> NDArray[np.int64]:
        """Return the voxel (z, y, x) of the map at which a window begins, int64 (3,)."""
        layout = self.layout
        corner: NDArray[np.int64] = (
            layout.centres[number] + layout.box_size // 2 - layout.window_size // 2
        )
        return corner

    def measure(self, number: int) -> tuple[LocalCurves, NDArray[np.float32]]:
        """Find the resolution of a window and filter the map there.

        Parameters
        ----------
        number
            Which centre of the layout.

        Returns
        -------
        curves : LocalCurves
        filtered : float32 (window_size,) * 3
            Of the whole map, not masked.
        """
        corner = self.corner(number)
        masked = self._curve(self._maps.halves, corner)
        randomised = self._curve(self._maps.randomised, corner)
        corrected = corrected_fsc(masked, randomised, self.layout.first_random)
        shell = shell_of_resolution(corrected)
        lowest = self.layout.lowest_angst
        resolution = min(self.layout.box_angst / shell, lowest) if shell > 0 else lowest
        curves = LocalCurves(masked, randomised, corrected, resolution)
        return curves, self._filtered(corner, curves)

    def _curve(
        self, pair: tuple[NDArray[np.float32], NDArray[np.float32]], corner: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        size = self.layout.window_size
        first, second = (
            fft.rfftn(cut(one, corner, size) * self.mask, norm="forward").ravel() for one in pair
        )
        powers = np.zeros((3, size // 2 + 2))
        add_powers(first, second, self._shells, powers)
        curve = correlation_of(powers[:, :-1])
        # Shells of the whole map between 0 and 1 of the window need the true sign at 0.
        curve[0] = curve[1]
        shells = np.arange(self._last + 1) / self._finer
        fine: NDArray[np.float64] = np.interp(shells, np.arange(curve.size), curve)
        fine[0] = 1.0
        return fine

    def _filtered(self, corner: NDArray[np.int64], curves: LocalCurves) -> NDArray[np.float32]:
        """Weigh by the local FSC and low-pass at the local resolution."""
        size = self.layout.window_size
        transform = fft.rfftn(cut(self._maps.whole, corner, size), norm="forward")
        weights = fsc_weights(curves.corrected)
        factor = np.interp(self._radius * self._finer, np.arange(weights.size), weights, right=0.0)
        cutoff = size * self.layout.pixel_size_angst / curves.resolution_angst
        factor *= lowpass_profile(self._radius, cutoff)
        scale_by_squared_radius(transform.ravel(), self._squared, factor.astype(np.float32))
        filtered: NDArray[np.float32] = fft.irfftn(
            transform, s=(size,) * 3, norm="forward", overwrite_x=True
        )
        return filtered


def cut(volume: NDArray[np.float32], corner: NDArray[np.int64], size: int) -> NDArray[np.float32]:
    """Cut a cube out of a map, 0 where it sticks out.

    Parameters
    ----------
    volume : float32 (n, n, n)
    corner : int64 (3,)
        Voxel (z, y, x) at which the cube begins; may be negative.
    size
        Side of the cube.

    Returns
    -------
    float32 (size, size, size)
    """
    n = volume.shape[0]
    from_ = [slice(max(c, 0), min(c + size, n)) for c in corner]
    if all(s.stop - s.start == size for s in from_):
        return volume[tuple(from_)]
    piece = np.zeros((size,) * 3, np.float32)
    to = tuple(slice(s.start - c, s.stop - c) for s, c in zip(from_, corner, strict=True))
    piece[to] = volume[tuple(from_)]
    return piece
