"""Posterior sums of a batch: slices to back-project and the moments of noise and scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from relion_mpi.backend.cpu.backproject import MAGIC, scatter, scatter_in_planes
from relion_mpi.backend.cpu.candidates import offsets_of
from relion_mpi.backend.cpu.jobs import child_rows, phases_of
from relion_mpi.backend.cpu.project import FAST, slice_into, slice_scratch
from relion_mpi.backend.half_plane import n_rows
from relion_mpi.backend.results import Moments
from relion_mpi.fourier.shells import padded_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from relion_mpi.backend.cpu.posterior import Posterior
    from relion_mpi.backend.cpu.prepare import Images
    from relion_mpi.backend.cpu.project import References
    from relion_mpi.backend.protocol import Quanta, SearchGrid

SLICE_BYTES = 16 * 2**20
"""Slices waiting for the scatter at a time."""


@dataclass(slots=True)
class Sums:
    """Running sums of one half-set, exact: everything added is rounded to the quanta.

    Attributes
    ----------
    volume : float64 (n_class, size * size * (size // 2 + 1) * 3) flat;
        (n_class, size * (size // 2 + 1) * 3) if 2D
    direction_weight : float64 (n_class, n_dir), or (n_class, 0) if not wanted
    size, r_max, padding : geometry of the volume
    quanta : steps of what is added
    """

    volume: NDArray[np.float64]
    direction_weight: NDArray[np.float64]
    size: int
    r_max: int
    padding: int
    quanta: Quanta

    @property
    def planar(self) -> bool:
        """Of 2D classes."""
        return bool(self.volume.shape[1] == 3 * n_rows(self.size))


def new_sums(
    n_class: int, n_dir: int, r_max: int, padding: int, quanta: Quanta, *, planar: bool
) -> Sums:
    """Make empty sums."""
    size = padded_size(r_max, padding)
    volume = np.zeros((n_class, (1 if planar else size) * n_rows(size) * 3))
    return Sums(volume, np.zeros((n_class, n_dir)), size, r_max, padding, quanta)


@numba.njit(cache=True, parallel=True, fastmath=FAST)
def weigh_slices(  # type: ignore[no-untyped-def]
    volumes, size, reach, padding, sx, sy,
    masked, unmasked, reference_ctf, data_ctf, inv_sigma2, phases,
    images, first, offsets, hypothesis, child, weight_offsets, shift, weight,
    directions, psis, n_direction, n_psi_child, n_psi, n_orient,
    cross, power, class_weight, shift_weight, all_rows, data, share,
):  # fmt: skip
    """Sum each slice's shifted images, compare with its projection, and lay it out for scatter.

    Parameters
    ----------
    images : int64 (n,) images in the batch
    first : int64 (n,) first slice of each image that is done
    offsets : int64 (n + 1,) places of its slices in the output
    cross, power : float (n_img, n_pix) moments before they are summed over shells, added to
    class_weight : float64 (n_img, n_class), added to
    shift_weight : float64 (n_img, n_fine_shift), added to
    all_rows : float (n_slice, 6) output
    data : float (n_slice, 2 * n_pix) output: CTF / sigma2 * sum of weighted shifted images
    share : float (n_slice,) output: weight of the slice
    """
    n_pix = sx.size
    dtype = masked.dtype
    for n in numba.prange(images.size):
        i = images[n]
        rows64 = np.empty(6)
        rows = np.empty(6, dtype)
        re, im = np.empty(n_pix, dtype), np.empty(n_pix, dtype)
        cos, sin = np.empty(n_pix, dtype), np.empty(n_pix, dtype)
        pixel_cross, pixel_power = cross[i], power[i]
        scratch = slice_scratch(masked, n_pix)
        for out in range(offsets[n], offsets[n + 1]):
            s = first[n] + out - offsets[n]
            k = hypothesis[s] // n_orient
            child_rows(
                hypothesis[s], child[s], directions, psis, n_direction, n_psi_child, n_psi,
                n_orient, padding, rows64,
            )  # fmt: skip
            rows[:] = rows64
            all_rows[out] = rows
            cos[:] = 0
            sin[:] = 0
            total = dtype.type(0)
            for w in range(weight_offsets[s], weight_offsets[s + 1]):
                q = weight[w]
                total += q
                shift_weight[i, shift[w]] += q
                phase = phases[shift[w]]
                for p in range(n_pix):
                    cos[p] += q * phase[0, p]
                    sin[p] += q * phase[1, p]
            share[out] = total
            class_weight[i, k] += total
            slice_into(volumes[k], size, reach, rows, sx, sy, n_pix, re, im, scratch)
            for p in range(n_pix):
                c = reference_ctf[i, p]
                a, b = masked[i, 0, p], masked[i, 1, p]
                xr, xi = a * cos[p] - b * sin[p], a * sin[p] + b * cos[p]
                rr, ri = c * re[p], c * im[p]
                pixel_cross[p] += rr * xr + ri * xi
                pixel_power[p] += total * (rr * rr + ri * ri)
                f = data_ctf[i, p] * inv_sigma2[p]
                a, b = unmasked[i, 0, p], unmasked[i, 1, p]
                data[out, p] = f * (a * cos[p] - b * sin[p])
                data[out, n_pix + p] = f * (a * sin[p] + b * cos[p])


@numba.njit(cache=True, parallel=True)
def sum_shells(values, shell, out):  # type: ignore[no-untyped-def]
    """Add values (n_img, n_pix) of pixels to their shells in out (n_img, n_shell)."""
    for i in numba.prange(values.shape[0]):
        for p in range(shell.size):
            out[i, shell[p]] += values[i, p]


def accumulate(
    images: Images,
    references: References,
    grid: SearchGrid,
    posterior: Posterior,
    sums: Sums,
    inv_sigma2: NDArray[Any],
) -> Moments:
    """Do what `Backend.accumulate` promises; inv_sigma2 includes shell 0 here.

    Source
    ------
    RELION storeWeightedSums; a slice is back-projected once, its shifts summed before.
    """
    geometry, dtype = images.geometry, images.masked.dtype
    n_img, n_class, n_pix = images.n_img, references.volume.shape[0], geometry.n_pix
    children = posterior.children
    phases = phases_of(children, images, n_pix)
    moments = Moments(
        np.zeros((n_img, geometry.n_shell)),
        np.zeros((n_img, geometry.n_shell)),
        np.zeros((n_img, n_class)),
        np.zeros((n_img, children.shift_pix.shape[0])),
        posterior.n_slice,
    )
    cross, power = np.zeros((n_img, n_pix), dtype), np.zeros((n_img, n_pix), dtype)
    weight = images.weight_ctf * inv_sigma2
    sx, sy = geometry.slice_x.astype(dtype), geometry.slice_y.astype(dtype)
    limit = max(n_img, SLICE_BYTES // (2 * n_pix * dtype.itemsize))
    n_most = min(limit, posterior.n_slice)
    all_rows, all_data = np.empty((n_most, 6), dtype), np.empty((n_most, 2 * n_pix), dtype)
    all_share = np.empty(n_most, dtype)
    for group in posterior.groups:
        for mine, first, offsets in _rounds(group.slice_offsets, limit):
            n = int(offsets[-1])
            rows, data, share = all_rows[:n], all_data[:n], all_share[:n]
            weigh_slices(
                references.volume, references.size, references.padding * references.r_max,
                references.padding, sx, sy, images.masked, images.unmasked,
                images.reference_ctf, images.data_ctf, inv_sigma2, phases,
                group.first_image + mine, first, offsets,
                group.hypothesis, group.child, group.weight_offsets, group.shift,
                group.weight, children.direction, children.psi_rad, children.n_direction,
                children.n_psi_child, children.n_psi, children.n_orient, cross, power,
                moments.class_weight, moments.shift_weight, rows, data, share,
            )  # fmt: skip
            number = np.repeat(first - offsets[:-1], np.diff(offsets)) + np.arange(n)
            image = np.repeat(group.first_image + mine, np.diff(offsets))
            class_index, orient = np.divmod(group.hypothesis[number], children.n_orient)
            _count_directions(sums, class_index, orient // children.n_psi, share)
            _scatter(sums, class_index, rows, sx, sy, data, weight, image, share)
    sum_shells(cross, geometry.shell, moments.cross)
    sum_shells(power, geometry.shell, moments.power)
    return moments


def _rounds(
    slice_offsets: NDArray[np.int64], limit: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Deal out the slices of images, so many at a time, each image its next ones.

    Yields
    ------
    mine, first : int64 (n,)
        Images, and the slice that each goes on with.
    offsets : int64 (n + 1,)
        Places of their slices in the round; at most `limit`, which is no less than the images.
    """
    first, end = slice_offsets[:-1].copy(), slice_offsets[1:]
    while (mine := np.flatnonzero(first < end)).size:
        n_each = np.minimum(end[mine] - first[mine], limit // mine.size)
        yield mine, first[mine], offsets_of(n_each)
        first[mine] += n_each


def _count_directions(
    sums: Sums,
    class_index: NDArray[np.int64],
    direction: NDArray[np.int64],
    share: NDArray[Any],
) -> None:
    if sums.direction_weight.size:
        step = sums.quanta.share
        np.add.at(sums.direction_weight, (class_index, direction), np.rint(share / step) * step)


def _scatter(
    sums: Sums,
    class_index: NDArray[np.int64],
    rows: NDArray[Any],
    sx: NDArray[Any],
    sy: NDArray[Any],
    data: NDArray[Any],
    weight: NDArray[Any],
    image: NDArray[np.int64],
    share: NDArray[Any],
) -> None:
    """Scatter slices of any classes."""
    if sums.planar:
        _scatter_in_planes(sums, class_index, rows, sx, sy, data, weight, image, share)
        return
    for k in np.unique(class_index):
        chosen = np.flatnonzero(class_index == k)
        _scatter_class(sums, k, chosen, rows, sx, sy, data, weight, image, share)


def _scatter_class(
    sums: Sums,
    k: int,
    chosen: NDArray[np.int64],
    rows: NDArray[Any],
    sx: NDArray[Any],
    sy: NDArray[Any],
    data: NDArray[Any],
    weight: NDArray[Any],
    image: NDArray[np.int64],
    share: NDArray[Any],
) -> None:
    """Scatter the chosen slices, those of one class, its planes shared out over the threads."""
    n_slab = numba.get_num_threads()
    reach = sums.padding * sums.r_max
    # A random slice has as many samples in each of equally thick slabs (Archimedes).
    planes = np.rint(np.linspace(-reach, reach, n_slab + 1)).astype(np.int64) + sums.size // 2
    planes[0], planes[-1] = 0, sums.size
    scatter(
        sums.volume[k], sums.size, reach, planes[:-1].copy(), planes[1:].copy(), chosen, rows,
        sx, sy, data, weight, image, share, MAGIC * sums.quanta.data, MAGIC * sums.quanta.weight,
    )  # fmt: skip


def _scatter_in_planes(
    sums: Sums,
    class_index: NDArray[np.int64],
    rows: NDArray[Any],
    sx: NDArray[Any],
    sy: NDArray[Any],
    data: NDArray[Any],
    weight: NDArray[Any],
    image: NDArray[np.int64],
    share: NDArray[Any],
) -> None:
    """Scatter into the planes of 2D classes, their lines shared out over the threads."""
    n_slab = numba.get_num_threads()
    reach = sums.padding * sums.r_max
    # A line has as many samples as the disc is wide there.
    y = np.arange(-reach, reach + 1)
    width = np.cumsum(np.sqrt(reach**2 - y**2))
    inner = np.searchsorted(width, width[-1] * np.arange(1, n_slab) / n_slab)
    lines = np.concatenate([[0], inner + sums.size // 2 - reach, [sums.size]])
    scatter_in_planes(
        sums.volume, sums.size, reach, lines[:-1].copy(), lines[1:].copy(), class_index, rows, sx,
        sy, data, weight, image, share, MAGIC * sums.quanta.data, MAGIC * sums.quanta.weight,
    )  # fmt: skip
