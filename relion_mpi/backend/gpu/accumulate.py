"""Posterior sums on the device: one fused kernel from slice to volume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cupy as cp
import cupyx
import numpy as np

from relion_mpi.backend.gpu.launch import BLOCK, Arithmetic, block_for, blocks, group_size, product
from relion_mpi.backend.protocol import Moments
from relion_mpi.fourier.half_ball import n_kept, row_starts
from relion_mpi.fourier.shells import padded_size

if TYPE_CHECKING:
    from relion_mpi.backend.gpu.fine import Posterior
    from relion_mpi.backend.gpu.grids import DeviceGrid
    from relion_mpi.backend.gpu.prepare import Images
    from relion_mpi.backend.gpu.project import References
    from relion_mpi.backend.gpu.scratch import Scratch
    from relion_mpi.backend.limits import Limits


STAGING_VOXELS = 2**21


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


def packed(sums: Sums, arithmetic: Arithmetic) -> Any:
    """Bring the voxels of the half ball to the host, real (n_class, n_kept, 3)."""
    n_class, size = sums.volume.shape[:2]
    starts = cp.asarray(row_starts(size))
    host = np.empty((n_class, n_kept(size), 3), arithmetic.real)
    # Through pinned memory that is used again: to pin as much as the sums takes longer.
    staging = cupyx.empty_pinned((STAGING_VOXELS, 3), arithmetic.real)
    for volume, out in zip(sums.volume, host, strict=True):  # room for one class is enough
        rows = cp.empty(out.shape, arithmetic.real)
        arithmetic.kernel("pack", "pack")(
            (size, size), (128,), (volume, starts, np.int32(size), rows)
        )
        for first in range(0, out.shape[0], STAGING_VOXELS):
            part = rows[first : first + STAGING_VOXELS]
            part.get(out=staging[: part.shape[0]])
            out[first : first + STAGING_VOXELS] = staging[: part.shape[0]]
    return host


def accumulate(
    images: Images,
    references: References,
    grid: DeviceGrid,
    posterior: Posterior,
    sums: Sums,
    inv_sigma2: Any,
    scratch: Scratch,
    limits: Limits,
) -> Moments:
    """Do what `Backend.accumulate` promises; inv_sigma2 includes shell 0 here."""
    geometry, arithmetic = images.geometry, grid.arithmetic
    real = arithmetic.real
    n_img, n_pix, n_shell = images.n_img, images.n_pix, geometry.host.n_shell
    n_slice, n_column = posterior.chosen.size, posterior.weights.shape[1]
    # All memory is asked for before anything is added: running out of it must leave the sums alone.
    widths = (n_shell, n_shell, references.n_class, n_column)
    together = cp.zeros(n_img * sum(widths))
    cross, power, class_weight, shift_weight = _columns(together, n_img, widths)
    moments = cp.zeros((n_img, n_pix), arithmetic.pair)
    per_call = max(1, limits.slice_bytes // (2 * n_pix * real.itemsize))
    (phi,) = scratch.arrays("slices", ((min(n_slice, per_call), 2 * n_pix), real))
    summing = grid.fine_phases(geometry).summing
    block = block_for(n_pix)
    n_chunk = blocks(n_pix, block)
    for first in range(0, n_slice, per_call):
        chosen = posterior.chosen[first : first + per_call]
        n = chosen.size
        slices, weights = posterior.slices[chosen], posterior.weights[chosen]
        share = cp.empty(n, real)
        product(weights, summing, phi[:n])
        arithmetic.kernel("slices", "share_weights")(
            (blocks(32 * n),), (BLOCK,),
            (slices, np.int64(n), weights, np.int32(n_column), np.int32(grid.host.n_orient),
             np.int32(grid.host.n_psi), np.int32(references.n_class), np.int32(grid.host.n_dir),
             share, class_weight, shift_weight, sums.direction_weight),
        )  # fmt: skip
        per_block = group_size(n, n_chunk)
        arithmetic.kernel("accumulate", "accumulate")(
            (blocks(n, per_block), n_chunk), (block,),
            (references.source, np.int64(references.length), np.int32(references.size),
             references.limit, np.int32(grid.host.n_orient), slices, np.int64(n),
             np.int32(per_block), geometry.slice_x, geometry.slice_y, np.int32(n_pix),
             images.masked, images.unmasked, images.reference_ctf, images.data_ctf,
             images.weight_ctf, inv_sigma2, phi, share, sums.volume, moments),
        )  # fmt: skip
    arithmetic.kernel("slices", "shell_moments")(
        (n_img,), (BLOCK,),
        (moments, geometry.shell_order, geometry.shell_start, np.int32(n_pix), np.int32(n_shell),
         cross, power),
    )  # fmt: skip
    cross, power, class_weight, shift_weight = _columns(together.get(), n_img, widths)
    return Moments(cross, power, class_weight, shift_weight, int(n_slice))


def _columns(together: Any, n_img: int, widths: tuple[int, ...]) -> list[Any]:
    """Divide one array into contiguous ones (n_img, width), so that it travels in one go."""
    ends = np.cumsum([n_img * width for width in widths])
    return [
        together[end - n_img * width : end].reshape(n_img, width)
        for end, width in zip(ends.tolist(), widths, strict=True)
    ]
