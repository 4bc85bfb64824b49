"""What a backend gives back about a batch, and of its sums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class BestHypotheses:
    """The most probable hypothesis of each image and what its posterior looks like.

    Attributes
    ----------
    class_index, fine_direction, fine_psi, fine_shift : int64 (n_img,)
    max_weight : float64 (n_img,) posterior probability of the best hypothesis
    log_evidence : float64 (n_img,) log of the sum of exp(score); cc: the best score
    n_significant : int64 (n_img,) coarse samples kept
    """

    class_index: NDArray[np.int64]
    fine_direction: NDArray[np.int64]
    fine_psi: NDArray[np.int64]
    fine_shift: NDArray[np.int64]
    max_weight: NDArray[np.float64]
    log_evidence: NDArray[np.float64]
    n_significant: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Moments:
    """Posterior sums of a batch that the noise, scale and prior estimates need.

    R is the projection with CTF and scale, X the masked image at the hypothesis' shift.

    Attributes
    ----------
    cross : float64 (n_img, n_shell) sum of weight * Re(conj(R) X)
    power : float64 (n_img, n_shell) sum of weight * |R|^2
    class_weight : float64 (n_img, n_class)
    shift_weight : float64 (n_img, n_fine_shift)
    n_slices : slices back-projected
    """

    cross: NDArray[np.float64]
    power: NDArray[np.float64]
    class_weight: NDArray[np.float64]
    shift_weight: NDArray[np.float64]
    n_slices: int


@dataclass(frozen=True, slots=True)
class HostSums:
    """Sums of one half-set as they leave the device.

    Attributes
    ----------
    volume : float (n_class, n_kept, 3): real, imaginary, weight of the voxels that
        `relion_mpi.fourier.half_ball` keeps, row by row; of 2D classes those of
        `relion_mpi.backend.half_plane`
    direction_weight : float64 (n_class, n_dir)
    """

    volume: NDArray[np.floating[Any]]
    direction_weight: NDArray[np.float64]
