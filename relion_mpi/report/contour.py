"""The contour at which a map is shown as a surface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from relion_mpi.fourier.masks import lowpass, soft_sphere
from relion_mpi.fourier.resample import windowed
from relion_mpi.maps.threshold import automatic_threshold
from relion_mpi.plots.surface import SIDE_PIX, surface_views

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.report.gather.history import Step
    from relion_mpi.report.gather.volumes import Volume

EDGE_PIX = 3.0
MARGIN_PIX = 3


@dataclass(frozen=True, slots=True)
class Contour:
    """A map that is low-passed to where it means something, and its contour.

    Attributes
    ----------
    volume : float32 (n, n, n), of what holds the body
    level : contour
    """

    volume: NDArray[np.float32]
    level: float

    @classmethod
    def of(cls, shown: Volume, step: Step | None, k: int = 0) -> Self | None:
        """Prepare a map.

        Parameters
        ----------
        shown
            As it was read.
        step
            Iteration that it is of, for its resolution; None leaves it as it is.
        k
            Class, from 0.

        Returns
        -------
        Contour or None
            None for a map without anything in it, as of an empty class.
        """
        data = shown.data
        n = data.shape[0]
        if n % 2 or not np.ptp(data) > 0:
            return None
        volume = data
        if step is not None:
            angst = step.class_resolution_angst[k] if step.fsc is None else step.resolution_angst
            pixel = shown.bin * step.pixel_size_angst
            if np.isfinite(angst) and angst > 2.0 * pixel:
                volume = lowpass(data, pixel, float(angst)).astype(np.float32)
        level = automatic_threshold(volume)
        inside = soft_sphere(n, n / 2 - EDGE_PIX - 1, EDGE_PIX, 3)
        volume = (volume * inside).astype(np.float32)
        return cls(windowed(volume, _side(volume >= level)), level)

    def views(self, side_pix: int = SIDE_PIX, n_view: int = 3) -> list[NDArray[np.uint8]]:
        """Look at it; see `relion_mpi.plots.surface.surface_views`."""
        return surface_views(self.volume, self.level, side_pix, n_view)


def _side(inside: NDArray[np.bool_]) -> int:
    """Return the side of the smallest even cube about the centre with all that is inside."""
    n = int(inside.shape[0])
    reach = 0
    for axis in range(3):
        there = np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis})))
        if there.size:
            reach = max(reach, *(abs(int(there[end]) - n // 2) for end in (0, -1)))
    return min(2 * (reach + MARGIN_PIX), n)
