"""The exhaustive first pass: one matrix product for a batch of images and a tile of slices."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from relion_mpi.backend.cpu.candidates import Candidates, join_candidates, offsets_of
from relion_mpi.backend.cpu.project import rotation_rows, slices
from relion_mpi.backend.cpu.shifts import phase_table, shifted_images
from relion_mpi.backend.cpu.significance import (
    N_BINS,
    bin_of,
    bin_of_cut,
    cut_within,
    log_margin,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from relion_mpi.backend.cpu.prepare import Images
    from relion_mpi.backend.cpu.project import References
    from relion_mpi.backend.protocol import GlobalPrior, Likelihood, SearchGrid

TILE = 1024
"""Orientations sliced at a time."""
SCORE_BYTES = 128 * 2**20
"""Scores held at a time; decides how many images are scored together."""
SLICE_BYTES = 256 * 2**20
"""Coarse slices of a half-set kept for all batches of an iteration when they fit."""


@numba.njit(cache=True, parallel=True)
def coarse_rows(direction, psi, first, n, padding, out):  # type: ignore[no-untyped-def]
    """Write rotation rows of coarse orientations first .. first + n - 1 into out (n, 6)."""
    n_psi = psi.size
    for j in numba.prange(n):
        d, p = divmod(first + j, n_psi)
        rows = np.empty(6)
        rotation_rows(direction[d], math.cos(psi[p]), math.sin(psi[p]), padding, rows)
        out[j] = rows


@numba.njit(cache=True)
def log_weight(cross, power, is_cc):  # type: ignore[no-untyped-def]
    """Combine a cross term and a power term of one sample."""
    if is_cc:
        return cross / math.sqrt(power) if power > 0.0 else -1e30
    return cross - 0.5 * power


@numba.njit(cache=True)
def image_threshold(cross, power, log_dir, log_shift, n_psi, peak, fraction, limit):  # type: ignore[no-untyped-def]
    """Find the significance threshold of an image; parameters as of `thresholds`, of one image."""
    n_hyp, n_shift = cross.shape
    margin = log_margin(n_hyp * n_shift)
    weight, count = np.zeros(N_BINS), np.zeros(N_BINS, np.int64)
    total, least = 0.0, peak
    for h in range(n_hyp):
        prior = log_dir[h // n_psi]
        for t in range(n_shift):
            v = log_weight(cross[h, t], power[h], False) + prior + log_shift[t]
            if v > peak - margin:
                w = math.exp(v - peak)
                b = bin_of(v, peak, margin)
                weight[b] += w
                count[b] += 1
                total += w
                least = min(least, v)
    chosen, above, n_above = bin_of_cut(weight, count, total, fraction, limit)
    if chosen < 0:
        return least
    members = np.empty(count[chosen])
    n = 0
    for h in range(n_hyp):
        prior = log_dir[h // n_psi]
        for t in range(n_shift):
            v = log_weight(cross[h, t], power[h], False) + prior + log_shift[t]
            if v > peak - margin and bin_of(v, peak, margin) == chosen:
                members[n] = v
                n += 1
    return cut_within(members, peak, above, n_above, fraction * total, limit)


@numba.njit(cache=True, parallel=True)
def thresholds(cross, power, log_dir, log_shift, n_psi, is_cc, fraction, limit, cut, n_job, n_pair):  # type: ignore[no-untyped-def]
    """Find each image's significance threshold and how much passes it.

    Parameters
    ----------
    cross : float (n_hyp, n_img, n_shift)
    power : float (n_hyp, n_img)
    log_dir : float64 (n_hyp // n_psi,)
    log_shift : float64 (n_img, n_shift)
    cut : float64 (n_img,) output
    n_job, n_pair : int64 (n_img,) output, orientations and samples kept
    """
    n_hyp, n_img, n_shift = cross.shape
    for i in numba.prange(n_img):
        peak = -np.inf
        for h in range(n_hyp):
            prior = 0.0 if is_cc else log_dir[h // n_psi]
            for t in range(n_shift):
                v = log_weight(cross[h, i, t], power[h, i], is_cc) + prior
                v += 0.0 if is_cc else log_shift[i, t]
                peak = max(peak, v)
        cut[i] = peak
        if not is_cc:
            cut[i] = image_threshold(
                cross[:, i], power[:, i], log_dir, log_shift[i], n_psi, peak, fraction, limit
            )
        jobs, pairs = 0, 0
        for h in range(n_hyp):
            prior = 0.0 if is_cc else log_dir[h // n_psi]
            hit = 0
            for t in range(n_shift):
                v = log_weight(cross[h, i, t], power[h, i], is_cc) + prior
                v += 0.0 if is_cc else log_shift[i, t]
                hit += v >= cut[i]
            jobs += hit > 0
            pairs += hit
        n_job[i] = jobs
        n_pair[i] = pairs


@numba.njit(cache=True, parallel=True)
def fill_jobs(  # type: ignore[no-untyped-def]
    cross, power, log_dir, log_shift, n_psi, is_cc, cut, job_start, pair_start, hyp,
    prior_out, shift_start, shift,
):  # fmt: skip
    """Write the samples that pass each image's threshold, grouped by orientation."""
    n_hyp, n_img, n_shift = cross.shape
    for i in numba.prange(n_img):
        job, pair = job_start[i], pair_start[i]
        for h in range(n_hyp):
            prior = 0.0 if is_cc else log_dir[h // n_psi]
            first = pair
            for t in range(n_shift):
                v = log_weight(cross[h, i, t], power[h, i], is_cc) + prior
                v += 0.0 if is_cc else log_shift[i, t]
                if v >= cut[i]:
                    shift[pair] = t
                    pair += 1
            if pair > first:
                hyp[job] = h
                prior_out[job] = prior
                shift_start[job + 1] = pair
                job += 1


class _SliceTiles:
    """Coarse slices of all classes, kept in memory when they fit."""

    def __init__(self, references: References, grid: SearchGrid, images: Images) -> None:
        self.references, self.grid = references, grid
        self.geometry = images.geometry
        self.dtype = images.masked.dtype
        n_class = references.volume.shape[0]
        total = n_class * grid.n_orient * 2 * images.geometry.n_coarse * self.dtype.itemsize
        self.keep = total < SLICE_BYTES
        self.key = (id(grid), images.geometry.n_coarse)

    def __iter__(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield (first hypothesis, slices (n, 2 * n_coarse))."""
        n_orient = self.grid.n_orient
        n_hyp = self.references.volume.shape[0] * n_orient
        # 2D classes have few orientations: several of them make a tile.
        span = n_hyp if self.references.planar else n_orient
        for start in range(0, n_hyp, span):
            for first in range(start, start + span, TILE):
                yield first, self._tile(first, min(first + TILE, start + span))

    def _tile(self, first: int, last: int) -> NDArray[Any]:
        """Slice hypotheses first .. last - 1."""
        refs, n_orient = self.references, self.grid.n_orient
        key = (*self.key, first)
        if key in refs.tiles:
            return refs.tiles[key]
        out = np.empty((last - first, 2 * self.geometry.n_coarse), self.dtype)
        done = first
        while done < last:
            k, orient = divmod(done, n_orient)
            n = min(n_orient - orient, last - done)
            self._slice(k, orient, out[done - first : done - first + n])
            done += n
        if self.keep:
            refs.tiles[key] = out
        return out

    def _slice(self, class_index: int, first: int, out: NDArray[Any]) -> None:
        """Slice orientations of a class from one on."""
        refs, geometry, n = self.references, self.geometry, out.shape[0]
        rows = np.empty((n, 6), self.dtype)
        coarse_rows(
            self.grid.coarse_direction, self.grid.coarse_psi_rad, first, n, refs.padding, rows
        )
        slices(
            refs.volume[class_index],
            refs.size,
            refs.padding * refs.r_max,
            rows,
            geometry.slice_x.astype(self.dtype),
            geometry.slice_y.astype(self.dtype),
            geometry.n_coarse,
            out,
        )


def search_global(
    images: Images,
    references: References,
    grid: SearchGrid,
    prior: GlobalPrior,
    likelihood: Likelihood,
    inv_sigma2: NDArray[Any],
) -> Candidates:
    """Do what `Backend.search_global` promises.

    With Y = CTF X exp(i phi) / sigma2, a sample's log weight is
    Re(conj(P) . Y) - (CTF^2 / sigma2) . |P|^2 / 2 + log priors: two matrix products.
    """
    geometry, dtype = images.geometry, images.masked.dtype
    n_coarse = geometry.n_coarse
    phases = phase_table(
        grid.coarse_shift_pix, geometry.x[:n_coarse], geometry.y[:n_coarse], geometry.box_size,
        dtype,
    )  # fmt: skip
    tiles = _SliceTiles(references, grid, images)
    n_hyp = references.volume.shape[0] * grid.n_orient
    group = int(max(1, SCORE_BYTES // (n_hyp * (grid.n_shift + 1) * dtype.itemsize)))
    parts = []
    for start in range(0, images.n_img, group):
        chosen = slice(start, min(start + group, images.n_img))
        ctf = images.reference_ctf[chosen, :n_coarse]
        n_img = ctf.shape[0]
        shifted = np.empty((n_img, grid.n_shift, 2 * n_coarse), dtype)
        shifted_images(images.masked[chosen], phases, ctf, inv_sigma2, n_coarse, shifted)
        flat = shifted.reshape(-1, 2 * n_coarse).T
        ctf2 = (ctf * ctf * inv_sigma2[:n_coarse]).T
        cross = np.empty((n_hyp, n_img * grid.n_shift), dtype)
        power = np.empty((n_hyp, n_img), dtype)
        multiply = partial(_multiply, flat, ctf2, cross, power)
        waiting = iter(tiles)
        with ThreadPoolExecutor(numba.get_num_threads()) as threads:
            # Slices are made here, by all threads; so many tiles as threads are multiplied.
            while chunk := list(islice(waiting, numba.get_num_threads())):
                list(threads.map(multiply, chunk))
        parts.append(
            _select(cross.reshape(n_hyp, n_img, -1), power, prior, chosen, grid, likelihood)
        )
    return join_candidates(parts)


def _multiply(
    flat: NDArray[Any],
    ctf2: NDArray[Any],
    cross: NDArray[Any],
    power: NDArray[Any],
    numbered: tuple[int, NDArray[Any]],
) -> None:
    """Fill one tile's rows of the cross and power terms.

    A thread does a tile with BLAS on one core: faster than BLAS' own threads on such shapes, and
    the same bits on any number of cores.
    """
    first, tile = numbered
    rows = slice(first, first + tile.shape[0])
    np.matmul(tile, flat, out=cross[rows])
    n_coarse = ctf2.shape[0]
    re, im = tile[:, :n_coarse], tile[:, n_coarse:]
    np.matmul(re * re + im * im, ctf2, out=power[rows])


def _select(
    cross: NDArray[Any],
    power: NDArray[Any],
    prior: GlobalPrior,
    chosen: slice,
    grid: SearchGrid,
    likelihood: Likelihood,
) -> Candidates:
    """Cut the scores of a group of images at their significance thresholds."""
    n_img = cross.shape[1]
    is_cc = likelihood.metric == "cc"
    log_dir, log_shift = prior.direction.ravel(), prior.shift[chosen]
    if is_cc and np.isneginf(log_dir).any():
        # Priors do not count, but what they exclude is excluded: without power there is no score.
        power.reshape(log_dir.size, -1)[np.isneginf(log_dir)] = 0.0
    cut, n_job, n_pair = np.empty(n_img), np.empty(n_img, np.int64), np.empty(n_img, np.int64)
    thresholds(
        cross, power, log_dir, log_shift, grid.n_psi, is_cc,
        likelihood.adaptive_fraction, likelihood.max_significants, cut, n_job, n_pair,
    )  # fmt: skip
    job_offsets, pair_offsets = offsets_of(n_job), offsets_of(n_pair)
    hypothesis = np.empty(job_offsets[-1], np.int64)
    log_prior = np.empty(job_offsets[-1])
    shift_offsets = np.zeros(job_offsets[-1] + 1, np.int64)
    shift = np.empty(pair_offsets[-1], np.int32)
    fill_jobs(
        cross, power, log_dir, log_shift, grid.n_psi, is_cc, cut,
        job_offsets, pair_offsets, hypothesis, log_prior, shift_offsets, shift,
    )  # fmt: skip
    return Candidates(job_offsets, hypothesis, log_prior, shift_offsets, shift, log_shift, n_pair)
