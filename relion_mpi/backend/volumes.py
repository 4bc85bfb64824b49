"""The whole interface between the M-step and the hardware: float64 passes over padded half grids.

Arrays of `FourierSums` and transforms are opaque (numpy or CuPy): only the backend that made them
understands them. Spectra per shell and finished maps come back as numpy arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray


@dataclass(slots=True)
class FourierSums:
    """Data and weights of one class on a padded half grid, z and y centred, x from 0.

    Attributes
    ----------
    data : complex128 (size, size, size // 2 + 1), size = 2 * (padding * r_max + 1) + 1
    weight : float64, same shape
    box_size : side of the map in voxels
    r_max : last shell with data
    padding : oversampling
    backend : made the arrays and works on them
    """

    data: Any
    weight: Any
    box_size: int
    r_max: int
    padding: int
    backend: VolumeBackend

    def copy(self) -> FourierSums:
        """Return an independent copy."""
        return FourierSums(
            self.data.copy(), self.weight.copy(), self.box_size, self.r_max, self.padding,
            self.backend,
        )  # fmt: skip

    @property
    def size(self) -> int:
        """Side of the padded grid."""
        return int(self.data.shape[0])

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
        centred = (np.arange(self.size) - self.size // 2) ** 2
        x = np.arange(self.size // 2 + 1) ** 2
        total: NDArray[np.int64] = (
            centred[:, None, None] + centred[None, :, None] + x[None, None, :]
        )
        return total


@dataclass(frozen=True, slots=True)
class Uploaded:
    """Sums of a half-set, and what was seen on their way.

    Attributes
    ----------
    sums : not symmetrised yet
    finite : no number is NaN or infinite
    any_weight : some weight is not 0
    """

    sums: FourierSums
    finite: bool
    any_weight: bool


class VolumeBackend(Protocol):
    """Operations on `FourierSums`. Those that return nothing change their first arguments."""

    name: str

    def upload(
        self, volume: NDArray[np.floating[Any]], box_size: int, r_max: int, padding: int
    ) -> Uploaded:
        """Take reduced sums.

        Parameters
        ----------
        volume : float (n_kept, 3) of (real, imaginary, weight), the rows of
            `relion_mpi.fourier.half_ball`
        box_size, r_max, padding
            See `FourierSums`.
        """
        ...

    def enforce_friedel(self, sums: FourierSums) -> None:
        """Add Friedel mates on the x = 0 plane; the origin stays.

        Source
        ------
        RELION enforceHermitianSymmetry: a sum, not a mean, because samples beside the plane were
        scattered to one side of it only.
        """
        ...

    def apply_point_group(self, sums: FourierSums, operators: NDArray[np.float64]) -> None:
        """Add the sums rotated by every operator but the identity, interpolated trilinearly.

        Parameters
        ----------
        sums
            Friedel symmetry must have been enforced before.
        operators : float64 (n, 3, 3)
            The point group, identity first.

        Source
        ------
        RELION applyPointGroupSymmetry: a sum, not a mean.
        """
        ...

    def join_low_resolution(
        self, first: FourierSums, second: FourierSums, last_shell: int
    ) -> None:
        """Replace both halves by their mean out to a shell, so that they share orientation.

        Parameters
        ----------
        first, second
            Sums of the two half-sets; both are changed.
        last_shell
            Shells up to this one are joined.

        Source
        ------
        RELION joinTwoHalvesAtLowResolution.
        """
        ...

    def add(self, first: FourierSums, second: FourierSums) -> None:
        """Add the second half's sums to the first's."""
        ...

    def shell_powers(self, first: FourierSums, second: FourierSums) -> NDArray[np.float64]:
        """Average both halves onto the unpadded grid and multiply them shell by shell.

        Returns
        -------
        float64 (3, r_max + 1)
            Sums of Re(a conj(b)), of |a|^2 and of |b|^2 within the radius r_max.

        Source
        ------
        RELION getDownsampledAverage and calculateDownSampledFourierShellCorrelation.
        """
        ...

    def shell_sums(self, sums: FourierSums, prior: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum weights, voxels, and voxels whose weight outweighs the inverse prior, per shell.

        Parameters
        ----------
        sums
            Weights count times `oversampling_correction`.
        prior : float64 (n_shell,)
            Variance; zeros where none is known.

        Returns
        -------
        float64 (3, n_shell)
        """
        ...

    def map_power(
        self, volume: NDArray[np.float64], r_max: int, padding: int
    ) -> NDArray[np.float64]:
        """Measure a reference's power per shell, in the units of the noise of images.

        Parameters
        ----------
        volume : float64 (box,) * 3
        r_max
            Last shell.
        padding
            Oversampling of the transform.

        Returns
        -------
        float64 (box // 2 + 1,)
            Half the mean squared modulus of the padded transform that projections are drawn from,
            corrected for interpolation; 0 beyond r_max.

        Source
        ------
        RELION Projector::computeFourierTransformMap.
        """
        ...

    def regularised(
        self, sums: FourierSums, prior: NDArray[np.float64] | None, min_shell: int
    ) -> Any:
        """Return the weights, with those of the prior added from a shell on.

        Parameters
        ----------
        sums
            Not changed.
        prior : float64 (n_shell,) or None
            Variance per shell.
        min_shell
            First shell that is regularised.
        """
        ...

    def mean_weight(self, sums: FourierSums, weight: Any) -> NDArray[np.float64]:
        """Average weights over shells by truncated radius, float64 (r_max,)."""
        ...

    def divide(self, sums: FourierSums, weight: Any, floor: NDArray[np.float64]) -> Any:
        """Return the transform data / weight, weights kept above their shell's floor.

        Parameters
        ----------
        sums
            Not changed.
        weight
            From `regularised`.
        floor : float64 (n,)
            Least weight per shell by truncated radius; beyond n the last one.
        """
        ...

    def grid(
        self, sums: FourierSums, weight: Any, blob: NDArray[np.float64], iterations: int
    ) -> Any:
        """Return the transform of data times weights whose convolution with a blob is flat.

        Parameters
        ----------
        sums
            Not changed.
        weight
            From `regularised`.
        blob : float64 (n,)
            The blob in real space, relative to its value at the origin, at n distances from 0 up
            to half the padded box; 0 beyond.
        iterations
            How often weights are improved.
        """
        ...

    def to_map(
        self, transform: Any, sums: FourierSums, edge_pix: float, dtype: DTypeLike = np.float64
    ) -> NDArray[Any]:
        """Invert a transform, crop the box, mask its corners, undo the interpolation.

        Parameters
        ----------
        transform
            From `divide` or `grid`; used up.
        sums
            Give the geometry.
        edge_pix
            Width of the soft edge at half the box.
        dtype
            To which the finished map is rounded.

        Returns
        -------
        dtype (box_size,) * 3
        """
        ...

    def release(self) -> None:
        """Give back what is kept between operations; sums must not be used afterwards."""
        ...
