"""Posterior sums on the device: one fused kernel from slice to volume."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cupy as cp
import cupyx
import numpy as np

from relion_mpi.backend import half_plane
from relion_mpi.backend.gpu.coarse import job_offsets
from relion_mpi.backend.gpu.launch import BLOCK, Arithmetic, block_for, blocks, group_size, product
from relion_mpi.backend.half_plane import plane_shape
from relion_mpi.backend.results import HostSums, Moments
from relion_mpi.core.errors import InputError
from relion_mpi.fourier import half_ball
from relion_mpi.fourier.shells import padded_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relion_mpi.backend.gpu.fine import Posterior
    from relion_mpi.backend.gpu.grids import DeviceGrid
    from relion_mpi.backend.gpu.prepare import Images
    from relion_mpi.backend.gpu.project import References
    from relion_mpi.backend.gpu.scratch import Scratch
    from relion_mpi.backend.limits import Limits
    from relion_mpi.backend.protocol import Quanta


STAGING_VOXELS = 2**21
WEIGHT_STEP = 2.0**-48
"""Step of the exact sums of an image's weights; as in slices.cu."""


@dataclass(slots=True)
class Sums:
    """Running sums of one half-set.

    Attributes
    ----------
    volume : real (n_class, size, size, size // 2 + 1, 4): real, imaginary, weight, unused; or for
        exact sums int64 (..., 3), counted in steps; of 2D classes (n_class, size, size // 2 + 1, 4)
    direction_weight : float64 (n_class, n_dir), or int64, counted in steps; no directions if they
        are not wanted
    quanta : these steps
    """

    volume: Any
    direction_weight: Any
    quanta: Quanta

    @property
    def planar(self) -> bool:
        """Of 2D classes."""
        return bool(self.volume.ndim == 4)


def new_sums(
    n_class: int, n_dir: int, r_max: int, padding: int, quanta: Quanta, arithmetic: Arithmetic,
    *, planar: bool,
) -> Sums:  # fmt: skip
    """Make empty sums."""
    size = padded_size(r_max, padding)
    last, kind = (3, np.int64) if arithmetic.exact else (4, arithmetic.real)
    shape = plane_shape(size) if planar else (size, *plane_shape(size))
    volume = cp.zeros((n_class, *shape, last), kind)
    return Sums(volume, cp.zeros((n_class, n_dir), arithmetic.added), quanta)


def fetched(sums: Sums, arithmetic: Arithmetic) -> HostSums:
    """Bring sums to the host: the voxels that travel, exact ones in float64."""
    directions = sums.direction_weight.get()
    if arithmetic.exact:
        directions = directions * sums.quanta.share
    return HostSums(packed(sums, arithmetic), directions)


def packed(sums: Sums, arithmetic: Arithmetic) -> Any:
    """Bring the voxels of half balls or planes to the host, float (n_class, n_kept, 3)."""
    n_class, size = sums.volume.shape[:2]
    starts = half_plane.row_starts(size) if sums.planar else half_ball.row_starts(size)
    planes = starts[::size]  # first entry of each plane, and the end
    kind, steps = arithmetic.real, list[Any]()
    if arithmetic.exact:
        kind = np.dtype("f8")
        steps = [np.float64(sums.quanta.data), np.float64(sums.quanta.weight)]
    host = np.empty((n_class, int(planes[-1]), 3), kind)
    n_slab = max(STAGING_VOXELS, int(np.diff(planes).max()))
    # Through pinned memory that is used again: to pin as much as the sums takes longer.
    staging, rows = cupyx.empty_pinned((n_slab, 3), kind), cp.empty((n_slab, 3), kind)
    on_device = cp.asarray(starts)
    for volume, out in zip(sums.volume, host, strict=True):
        z = 0
        while z < planes.size - 1:
            last = int(np.searchsorted(planes, planes[z] + n_slab, side="right")) - 1
            n = int(planes[last] - planes[z])
            arithmetic.kernel("pack", "pack")(
                (size, last - z), (128,),
                (volume, on_device, np.int32(z), np.int64(planes[z]), np.int32(size), *steps,
                 rows),
            )  # fmt: skip
            rows[:n].get(out=staging[:n])
            out[planes[z] : planes[last]] = staging[:n]
            z = last
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
    # Memory is asked for before anything is added: running out of it must leave the sums alone.
    # Of what a part of the slices needs, that holds for the first part; see `_added_once`.
    widths = (n_shell, n_shell, references.n_class, n_column)
    together = cp.zeros(n_img * sum(widths))
    cross, power, class_weight, shift_weight = _columns(together, n_img, widths)
    moments = cp.zeros((n_img, n_pix), arithmetic.pair)
    per_call = max(1, limits.slice_bytes // (2 * n_pix * real.itemsize))
    (phi,) = scratch.arrays("slices", ((min(n_slice, per_call), 2 * n_pix), real))
    summing = grid.fine_phases(geometry).summing
    per_direction = (np.float64(1 / sums.quanta.share),) if arithmetic.exact else ()
    block = block_for(n_pix)
    n_chunk = blocks(n_pix, block)
    for first in range(0, n_slice, per_call):
        with _added_once(first):
            chosen = posterior.chosen[first : first + per_call]
            n = chosen.size
            slices, weights = posterior.slices[chosen], posterior.weights[chosen]
            share = cp.empty(n, real)
            product(weights, summing, phi[:n])
            arithmetic.kernel("slices", "share_weights")(
                (blocks(32 * n),), (BLOCK,),
                (slices, np.int64(n), weights, np.int32(n_column), np.int32(grid.host.n_orient),
                 np.int32(grid.host.n_psi), np.int32(references.n_class),
                 np.int32(sums.direction_weight.shape[1]), share, class_weight, shift_weight,
                 *per_direction, sums.direction_weight),
            )  # fmt: skip
            n_group, dealing = _dealt(slices, n_img, n_chunk, sums.quanta, arithmetic)
            arithmetic.kernel("accumulate", "accumulate", planar=references.planar)(
                (n_group, n_chunk), (block,),
                (references.source, np.int64(references.length), np.int32(references.size),
                 references.limit, np.int32(grid.host.n_orient), slices, np.int64(n),
                 *dealing, geometry.slice_x, geometry.slice_y, np.int32(n_pix),
                 images.masked, images.unmasked, images.reference_ctf, images.data_ctf,
                 images.weight_ctf, inv_sigma2, phi, share, sums.volume, moments),
            )  # fmt: skip
            # What comes next takes their place in memory.
            del slices, weights, share, dealing
    arithmetic.kernel("slices", "shell_moments")(
        (n_img,), (BLOCK,),
        (moments, geometry.shell_order, geometry.shell_start, np.int32(n_pix), np.int32(n_shell),
         cross, power),
    )  # fmt: skip
    cross, power, class_weight, shift_weight = _columns(together.get(), n_img, widths)
    if arithmetic.exact:
        class_weight = class_weight.view(np.int64) * WEIGHT_STEP
        shift_weight = shift_weight.view(np.int64) * WEIGHT_STEP
    return Moments(cross, power, class_weight, shift_weight, int(n_slice))


@contextmanager
def _added_once(first: int) -> Iterator[None]:
    """Refuse to go on where memory is full after slices before `first` were added to the sums.

    A batch that is done again in halves would add them twice.
    """
    try:
        yield
    except cp.cuda.memory.OutOfMemoryError as error:
        if not first:
            raise
        msg = (
            f"the GPU's memory became full in the middle of a batch ({error}); free memory of the "
            "GPU or start fewer ranks on it, then --continue"
        )
        raise InputError(msg) from error


def _dealt(
    slices: Any, n_img: int, n_chunk: int, quanta: Quanta, arithmetic: Arithmetic
) -> tuple[int, tuple[Any, ...]]:
    """Deal slices to blocks in groups, or for exact sums by image: (blocks, arguments)."""
    if not arithmetic.exact:
        per_block = group_size(slices.shape[0], n_chunk)
        return blocks(slices.shape[0], per_block), (np.int32(per_block),)
    real = arithmetic.real
    image = slices[:, 6 * real.itemsize // 4]  # after the rows of the rotation
    offsets = job_offsets(cp.ascontiguousarray(image).view(np.int32), n_img)
    return n_img, (offsets, real.type(1 / quanta.data), real.type(1 / quanta.weight))


def _columns(together: Any, n_img: int, widths: tuple[int, ...]) -> list[Any]:
    """Divide one array into contiguous ones (n_img, width), so that it travels in one go."""
    ends = np.cumsum([n_img * width for width in widths])
    return [
        together[end - n_img * width : end].reshape(n_img, width)
        for end, width in zip(ends.tolist(), widths, strict=True)
    ]
