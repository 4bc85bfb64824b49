"""The exhaustive first pass: cuBLAS products, then three reads of the scores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cupy as cp
import numpy as np

from relion_mpi.backend.gpu.launch import BLOCK, blocks, product
from relion_mpi.backend.limits import TILE

if TYPE_CHECKING:
    from relion_mpi.backend.gpu.grids import DeviceGrid
    from relion_mpi.backend.gpu.prepare import Images
    from relion_mpi.backend.gpu.project import References
    from relion_mpi.backend.gpu.scratch import Scratch
    from relion_mpi.backend.limits import Limits
    from relion_mpi.backend.protocol import GlobalPrior, Likelihood

N_BINS = 2048
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
    scratch: Scratch,
    limits: Limits,
) -> Candidates:
    """Do what `Backend.search_global` promises."""
    arithmetic = grid.arithmetic
    n_hyp = references.n_class * grid.host.n_orient
    n_shift = grid.host.n_shift
    group = limits.images_at_once(n_hyp, n_shift, arithmetic.real.itemsize)
    group = -(-images.n_img // -(-images.n_img // group))  # even groups
    log_dir = cp.asarray(np.maximum(prior.direction.ravel(), -1e30).astype(arithmetic.real))
    log_shift = cp.asarray(np.maximum(prior.shift, -1e30).astype(arithmetic.real))
    is_cc = likelihood.metric == "cc"
    skipped = cp.asarray(np.flatnonzero(np.isneginf(prior.direction)))
    parts = []
    for start in range(0, images.n_img, group):
        chosen = slice(start, min(start + group, images.n_img))
        scores = _scores(chosen.stop - start, n_hyp, n_shift, arithmetic.real, scratch)
        _products(images, references, grid, chosen, inv_sigma2, scores, scratch)
        if is_cc and skipped.size:
            # Priors do not count, but what they exclude is excluded: without power, no score.
            scores.power.reshape(log_dir.size, -1)[skipped] = 0
        parts.append(
            _select(scores, log_dir, log_shift[chosen], start, grid, likelihood)
        )
    return _joined(parts, log_dir, log_shift, grid.host.n_psi, images.n_img)


@dataclass(frozen=True, slots=True)
class _Scores:
    """Arrays of a group of images.

    cross is real (n_hyp, n_img * n_shift), power real (n_hyp, n_img); masks uint32
    (n_img, n_hyp, n_word) and found uint8 (n_img, n_hyp) say what is significant.
    """

    cross: Any
    power: Any
    masks: Any
    found: Any


def _scores(n_img: int, n_hyp: int, n_shift: int, real: Any, scratch: Scratch) -> _Scores:
    n_word = (n_shift + 31) // 32
    return _Scores(*scratch.arrays(
        "scores", ((n_hyp, n_img * n_shift), real), ((n_hyp, n_img), real),
        ((n_img, n_hyp, n_word), np.uint32), ((n_img, n_hyp), np.uint8),
    ))  # fmt: skip


def _products(
    images: Images,
    references: References,
    grid: DeviceGrid,
    chosen: slice,
    inv_sigma2: Any,
    scores: _Scores,
    scratch: Scratch,
) -> None:
    """Fill in cross and power terms."""
    geometry, arithmetic = images.geometry, grid.arithmetic
    real = arithmetic.real
    n_coarse, n_all = geometry.host.n_coarse, geometry.host.n_pix
    n_img, n_shift = chosen.stop - chosen.start, grid.host.n_shift
    phases = grid.coarse_phases(geometry)
    ctf = images.reference_ctf[chosen]
    n_orient = grid.host.n_orient
    # 2D classes have few orientations: several of them make a tile.
    span = n_orient * (references.n_class if references.planar else 1)
    n_tile = min(TILE, span)
    shifted, ctf2, *tile_buffers = scratch.arrays(
        "slices", ((n_img * n_shift, 2 * n_coarse), real), ((n_img, n_coarse), real),
        ((n_tile, 2 * n_coarse), real), ((n_tile, n_coarse), real),
    )  # fmt: skip
    total = n_img * n_shift * n_coarse
    arithmetic.kernel("coarse", "shifted_images")(
        (blocks(total),), (BLOCK,),
        (images.masked[chosen], phases.factor, ctf, inv_sigma2, np.int32(n_all),
         np.int32(n_coarse), np.int32(n_shift), np.int64(total), shifted),
    )  # fmt: skip
    arithmetic.kernel("coarse", "ctf_power")(
        (blocks(ctf2.size),), (BLOCK,),
        (ctf, inv_sigma2, np.int32(n_all), np.int32(n_coarse), np.int64(ctf2.size), ctf2),
    )  # fmt: skip
    tensor_cores = arithmetic.tensor_cores
    for start in range(0, references.n_class * n_orient, span):
        for first in range(start, start + span, TILE):
            rows = slice(first, min(first + TILE, start + span))
            tile, tile_power = grid.coarse_tile(references, rows, geometry, tile_buffers)
            for a, b, out in ((tile, shifted, scores.cross), (tile_power, ctf2, scores.power)):
                product(a, b, out[rows], transposed=True, tensor_cores=tensor_cores)


def _select(
    scores: _Scores,
    log_dir: Any,
    log_shift: Any,
    first_image: int,
    grid: DeviceGrid,
    likelihood: Likelihood,
) -> tuple[Any, ...]:
    """Cut the scores of a group of images: (image, hypothesis, masks, n_significant)."""
    arithmetic = grid.arithmetic
    n_hyp, n_img = scores.power.shape
    n_shift = grid.host.n_shift
    is_cc = likelihood.metric == "cc"
    sizes = (np.int32(n_hyp), np.int32(n_img), np.int32(n_shift), np.int32(grid.host.n_psi))
    terms = (scores.cross, scores.power, log_dir, log_shift, *sizes, np.int32(is_cc))
    chunk = max(64, n_hyp // 64)
    columns = (blocks(n_img * n_shift), (n_hyp + chunk - 1) // chunk)
    peak = cp.full(n_img, -np.inf, arithmetic.real)
    arithmetic.kernel("coarse", "find_peak")(
        columns, (BLOCK,), (*terms, np.int32(chunk), peak)
    )
    cut = None
    if not is_cc:
        margin = math.log(n_hyp * n_shift) - math.log(NEGLIGIBLE)
        weights = cp.zeros((n_img, N_BINS), arithmetic.added)
        counts = cp.zeros((n_img, N_BINS), np.int32)
        arithmetic.kernel("coarse", "histogram")(
            columns, (BLOCK,),
            (*terms, np.int32(chunk), peak, arithmetic.real.type(margin), weights, counts),
        )  # fmt: skip
        kinds = (peak.dtype, peak.dtype, np.float64, np.float64, np.int32)
        cut = _Crossing(*(cp.empty(n_img, kind) for kind in kinds))
        arithmetic.kernel("coarse", "crossing")(
            (n_img,), (256,),
            (peak, weights, counts, arithmetic.real.type(margin),
             np.float64(likelihood.adaptive_fraction), np.int32(likelihood.max_significants),
             cut.low, cut.high, cut.above, cut.target, cut.n_above),
        )  # fmt: skip
    threshold = peak if cut is None else cut.low
    n_word = (n_shift + 31) // 32
    masks, found = scores.masks, scores.found
    n_significant = cp.zeros(n_img, np.int32)
    arithmetic.kernel("coarse", "significant")(
        (blocks(n_hyp * n_img),), (BLOCK,),
        (*terms, threshold, np.int32(n_word), masks, found, n_significant),
    )  # fmt: skip
    jobs = cp.flatnonzero(found)
    image, hypothesis = (part.astype(np.int32) for part in cp.divmod(jobs, n_hyp))
    masks = masks.reshape(-1, n_word)[jobs]
    if cut is not None:
        arithmetic.kernel("coarse", "prune")(
            (n_img,), (BLOCK,),
            (*terms, peak, cut.low, cut.high, cut.above, cut.target, cut.n_above,
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


def _joined(
    parts: list[tuple[Any, ...]], log_dir: Any, log_shift: Any, n_psi: int, n_img: int
) -> Candidates:
    image, hypothesis, masks, n_significant = (
        parts[0] if len(parts) == 1 else (cp.concatenate(one) for one in zip(*parts, strict=True))
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
