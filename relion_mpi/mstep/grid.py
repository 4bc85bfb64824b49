"""The padded Fourier grid that sums live on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(slots=True)
class FourierSums:
    """Data and weights of one class on a padded half grid, z and y centred, x from 0.

    Attributes
    ----------
    data : complex128 (size, size, size // 2 + 1)
    weight : float64, same shape
    box_size : side of the map in voxels
    r_max : last shell with data
    padding : oversampling
    """

    data: NDArray[np.complex128]
    weight: NDArray[np.float64]
    box_size: int
    r_max: int
    padding: int

    @classmethod
    def from_interleaved(
        cls, volume: NDArray[np.floating[Any]], box_size: int, r_max: int, padding: int
    ) -> FourierSums:
        """Split a float (size, size, size // 2 + 1, 3) volume of (re, im, weight)."""
        data = np.empty(volume.shape[:3], np.complex128)
        data.real, data.imag = volume[..., 0], volume[..., 1]
        return cls(data, volume[..., 2].astype(np.float64), box_size, r_max, padding)

    def copy(self) -> FourierSums:
        """Return an independent copy."""
        return FourierSums(
            self.data.copy(), self.weight.copy(), self.box_size, self.r_max, self.padding
        )

    @property
    def reach(self) -> int:
        """Largest padded radius."""
        return self.padding * self.r_max

    @property
    def oversampling_correction(self) -> float:
        """Voxels of the padded grid per voxel of the map's own transform."""
        return float(self.padding**3)

    def radius2(self) -> NDArray[np.int64]:
        """Squared padded radii of all voxels, int64 (size, size, size // 2 + 1)."""
        size = self.data.shape[0]
        centred = (np.arange(size) - size // 2) ** 2
        x = np.arange(size // 2 + 1) ** 2
        total: NDArray[np.int64] = (
            centred[:, None, None] + centred[None, :, None] + x[None, None, :]
        )
        return total


def join_low_resolution(first: FourierSums, second: FourierSums, last_shell: int) -> None:
    """Replace both halves by their mean out to a shell, so that they share orientation.

    Parameters
    ----------
    first, second
        Sums of the two half-sets; changed in place.
    last_shell
        Shells up to this one are joined.

    Source
    ------
    RELION joinTwoHalvesAtLowResolution.
    """
    inside = first.radius2() <= (first.padding * last_shell) ** 2
    for name in ("data", "weight"):
        a, b = getattr(first, name), getattr(second, name)
        mean = 0.5 * (a[inside] + b[inside])
        a[inside] = mean
        b[inside] = mean
