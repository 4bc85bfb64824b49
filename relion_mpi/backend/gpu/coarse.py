"""The exhaustive first pass: cuBLAS products, then three reads of the scores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cupy as cp
import numpy as np

from relion_mpi.backend.gpu.grids import TILE
from relion_mpi.backend.gpu.launch import BLOCK, Arithmetic, blocks, product

if TYPE_CHECKING:
    from relion_mpi.backend.gpu.grids import DeviceGrid
    from relion_mpi.backend.gpu.prepare import Images
    from relion_mpi.backend.gpu.project import References
    from relion_mpi.backend.protocol import GlobalPrior, Likelihood

N_BINS = 2048
SCORE_BYTES = 2 * 2**30
NEGLIGIBLE = 1e-6


@dataclass(frozen=True, slots=True)
class Candidates:
    """Significant coarse samples: jobs are (image, orientation), each with a mask of shifts.

    Attributes
    ----------
    image, hypothesis : int32 (n_job,), sorted by image
    log_prior : real (n_job,) of the orientation
    masks : uint32 (n_job, n_word) bits of the shifts
    log_shift : real (n_img, n_shift)
    job_offsets : int64 (n_img + 1,)
    n_significant : int32 (n_img,)
    """

    image: Any
    hypothesis: Any
    log_prior: Any
    masks: Any
    log_shift: Any
    job_offsets: Any
    n_significant: Any


def search_global(
    images: Images,
    references: References,
    grid: DeviceGrid,
    prior: GlobalPrior,
    likelihood: Likelihood,
    inv_sigma2: Any,
    arithmetic: Arithmetic,
) -> Candidates:
    """Do what `Backend.search_global` promises."""
    n_hyp = references.n_class * grid.host.n_orient
    n_shift = grid.host.n_shift
    group = max(1, SCORE_BYTES // (n_hyp * (n_shift + 1) * arithmetic.real.itemsize))
    log_dir = cp.asarray(np.maximum(prior.direction.ravel(), -1e30).astype(arithmetic.real))
    log_shift = cp.asarray(np.maximum(prior.shift, -1e30).astype(arithmetic.real))
    parts = []
    for start in range(0, images.n_img, group):
        chosen = slice(start, min(start + group, images.n_img))
        cross, power = _products(images, references, grid, chosen, inv_sigma2, arithmetic)
        parts.append(
            _select(cross, power, log_dir, log_shift[chosen], start, grid, likelihood, arithmetic)
        )
    return _joined(parts, log_dir, log_shift, grid.host.n_psi, images.n_img)


def _products(
    images: Images,
    references: References,
    grid: DeviceGrid,
    chosen: slice,
    inv_sigma2: Any,
    arithmetic: Arithmetic,
) -> tuple[Any, Any]:
    """Return cross terms (n_hyp, n_img * n_shift) and power terms (n_hyp, n_img)."""
    geometry = images.geometry
    n_coarse, n_all = geometry.host.n_coarse, geometry.host.n_pix
    n_img, n_shift = chosen.stop - chosen.start, grid.host.n_shift
    phases = grid.coarse_phases(geometry)
    ctf = images.reference_ctf[chosen]
    shifted = cp.empty((n_img * n_shift, 2 * n_coarse), arithmetic.real)
    total = n_img * n_shift * n_coarse
    arithmetic.kernel("coarse", "shifted_images")(
        (blocks(total),), (BLOCK,),
        (images.masked[chosen], phases.factor, ctf, inv_sigma2, np.int32(n_all),
         np.int32(n_coarse), np.int32(n_shift), np.int64(total), shifted),
    )  # fmt: skip
    ctf2 = cp.empty((n_img, n_coarse), arithmetic.real)
    arithmetic.kernel("coarse", "ctf_power")(
        (blocks(ctf2.size),), (BLOCK,),
        (ctf, inv_sigma2, np.int32(n_all), np.int32(n_coarse), np.int64(ctf2.size), ctf2),
    )  # fmt: skip
    n_orient = grid.host.n_orient
    n_hyp = references.n_class * n_orient
    cross = cp.empty((n_hyp, n_img * n_shift), arithmetic.real)
    power = cp.empty((n_hyp, n_img), arithmetic.real)
    for k in range(references.n_class):
        for first in range(0, n_orient, TILE):
            rows = slice(k * n_orient + first, k * n_orient + min(first + TILE, n_orient))
            tile, tile_power = grid.coarse_tile(references, k, first, geometry)
            product(tile, shifted.T, cross[rows], arithmetic)
            product(tile_power, ctf2.T, power[rows], arithmetic)
    return cross, power


def _select(
    cross: Any,
    power: Any,
    log_dir: Any,
    log_shift: Any,
    first_image: int,
    grid: DeviceGrid,
    likelihood: Likelihood,
    arithmetic: Arithmetic,
) -> tuple[Any, ...]:
    """Cut the scores of a group of images: (image, hypothesis, masks, n_significant)."""
    n_hyp, n_img = power.shape
    n_shift = grid.host.n_shift
    is_cc = likelihood.metric == "cc"
    sizes = (np.int32(n_hyp), np.int32(n_img), np.int32(n_shift), np.int32(grid.host.n_psi))
    scores = (cross, power, log_dir, log_shift, *sizes, np.int32(is_cc))
    chunk = max(64, n_hyp // 64)
    columns = (blocks(n_img * n_shift), (n_hyp + chunk - 1) // chunk)
    peak = cp.full(n_img, -np.inf, arithmetic.real)
    arithmetic.kernel("coarse", "find_peak")(
        columns, (BLOCK,), (*scores, np.int32(chunk), peak)
    )
    cut = None
    if not is_cc:
        margin = math.log(n_hyp * n_shift) - math.log(NEGLIGIBLE)
        weights = cp.zeros((n_img, N_BINS))
        counts = cp.zeros((n_img, N_BINS), np.int32)
        arithmetic.kernel("coarse", "histogram")(
            columns, (BLOCK,),
            (*scores, np.int32(chunk), peak, arithmetic.real.type(margin), weights, counts),
        )  # fmt: skip
        cut = _crossing_bin(peak, margin, weights, counts, likelihood)
    threshold = peak if cut is None else cut.low
    n_word = (n_shift + 31) // 32
    masks = cp.empty((n_img, n_hyp, n_word), np.uint32)
    found = cp.empty((n_img, n_hyp), np.uint8)
    n_significant = cp.zeros(n_img, np.int32)
    arithmetic.kernel("coarse", "significant")(
        (blocks(n_hyp * n_img),), (BLOCK,),
        (*scores, threshold, np.int32(n_word), masks, found, n_significant),
    )  # fmt: skip
    jobs = cp.flatnonzero(found)
    image, hypothesis = (part.astype(np.int32) for part in cp.divmod(jobs, n_hyp))
    masks = masks.reshape(-1, n_word)[jobs]
    if cut is not None:
        arithmetic.kernel("coarse", "prune")(
            (n_img,), (BLOCK,),
            (*scores, peak, cut.low, cut.high, cut.above, cut.target, cut.n_above,
             np.int32(likelihood.max_significants), job_offsets(image, n_img), hypothesis,
             np.int32(n_word), masks, n_significant),
        )  # fmt: skip
    return image + np.int32(first_image), hypothesis, masks, n_significant


@dataclass(frozen=True, slots=True)
class _Crossing:
    """The histogram bin of each image in which the wanted share of the weight is reached.

    low and high are its edges, above and n_above what lies above it, target the wanted weight.
    """

    low: Any
    high: Any
    above: Any
    target: Any
    n_above: Any


def _crossing_bin(
    peak: Any, margin: float, weights: Any, counts: Any, likelihood: Likelihood
) -> _Crossing:
    reached = cp.cumsum(weights, axis=1)
    n_reached = cp.cumsum(counts, axis=1).astype(np.int32)
    target = likelihood.adaptive_fraction * reached[:, -1]
    crossing = reached > target[:, None]
    if likelihood.max_significants > 0:
        crossing |= n_reached >= likelihood.max_significants
    crossing[:, -1] = True
    bins = cp.argmax(crossing, axis=1)
    row = cp.arange(bins.size)
    real, width = peak.dtype, margin / N_BINS
    below = cp.maximum(bins - 1, 0)
    first = bins == 0
    return _Crossing(
        (peak - (bins + 1) * width).astype(real),
        cp.where(first, peak + 1, peak - bins * width).astype(real),
        cp.where(first, 0.0, reached[row, below]),
        target,
        cp.where(first, 0, n_reached[row, below]).astype(np.int32),
    )


def _joined(
    parts: list[tuple[Any, ...]], log_dir: Any, log_shift: Any, n_psi: int, n_img: int
) -> Candidates:
    image, hypothesis, masks, n_significant = (
        cp.concatenate([part[j] for part in parts]) for j in range(4)
    )
    return Candidates(
        image,
        hypothesis,
        log_dir[hypothesis // n_psi],
        masks,
        log_shift,
        job_offsets(image, n_img),
        n_significant,
    )


def job_offsets(image: Any, n_img: int) -> Any:
    """First job of each image in a list sorted by image, int64 (n_img + 1,)."""
    return cp.searchsorted(image, cp.arange(n_img + 1, dtype=image.dtype)).astype(np.int64)
