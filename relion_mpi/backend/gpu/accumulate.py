"""Posterior sums on the device: one fused kernel from slice to volume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cupy as cp
import numpy as np

from relion_mpi.backend.gpu.launch import BLOCK, Arithmetic
from relion_mpi.backend.protocol import Moments
from relion_mpi.fourier.shells import padded_size

if TYPE_CHECKING:
    from relion_mpi.backend.gpu.fine import Posterior
    from relion_mpi.backend.gpu.grids import DeviceGrid
    from relion_mpi.backend.gpu.prepare import Images
    from relion_mpi.backend.gpu.project import References

SLICE_BYTES = 2 * 2**30


@dataclass(slots=True)
class Sums:
    """Running sums of one half-set.

    Attributes
    ----------
    volume : real (n_class, size, size, size // 2 + 1, 4): real, imaginary, weight, unused
    direction_weight : float64 (n_class, n_dir)
    """

    volume: Any
    direction_weight: Any


def new_sums(n_class: int, n_dir: int, r_max: int, padding: int, arithmetic: Arithmetic) -> Sums:
    """Make empty sums."""
    size = padded_size(r_max, padding)
    volume = cp.zeros((n_class, size, size, size // 2 + 1, 4), arithmetic.real)
    return Sums(volume, cp.zeros((n_class, n_dir)))


def accumulate(
    images: Images,
    references: References,
    grid: DeviceGrid,
    posterior: Posterior,
    sums: Sums,
    inv_sigma2: Any,
    arithmetic: Arithmetic,
) -> Moments:
    """Do what `Backend.accumulate` promises; inv_sigma2 includes shell 0 here."""
    geometry = images.geometry
    n_img, n_pix, n_shell = images.n_img, images.n_pix, geometry.host.n_shell
    n_class = references.n_class
    n_slice, n_column = posterior.weights.shape
    cross, power = cp.zeros((n_img, n_shell)), cp.zeros((n_img, n_shell))
    class_weight, shift_weight = cp.zeros((n_img, n_class)), cp.zeros((n_img, n_column))
    summing = grid.fine_phases(geometry).summing
    per_call = max(1, SLICE_BYTES // (2 * n_pix * arithmetic.real.itemsize))
    for first in range(0, n_slice, per_call):
        rows = slice(first, min(first + per_call, n_slice))
        weights = posterior.weights[rows]
        phi = cp.matmul(weights, summing)
        arithmetic.kernel("accumulate", "accumulate")(
            (weights.shape[0],), (BLOCK if n_pix >= 512 else 128,),
            (references.volume, np.int64(references.length), np.int32(references.size),
             references.limit, np.float64(references.padding), grid.fine_direction, grid.fine_psi,
             np.int32(grid.host.n_orient), np.int32(grid.host.n_psi),
             np.int32(grid.n_child_direction), np.int32(grid.n_child_psi), posterior.image[rows],
             posterior.hypothesis[rows], posterior.child[rows], geometry.slice_x,
             geometry.slice_y, geometry.shell, np.int32(n_pix), np.int32(n_shell), images.masked,
             images.unmasked, images.reference_ctf, images.data_ctf, images.weight_ctf,
             inv_sigma2, phi, weights, np.int32(n_column), np.int32(n_class),
             np.int32(grid.host.n_dir), sums.volume, cross, power, class_weight, shift_weight,
             sums.direction_weight),
            shared_mem=16 * n_shell,
        )  # fmt: skip
    return Moments(
        cross.get(), power.get(), class_weight.get(), shift_weight.get(), int(n_slice)
    )
