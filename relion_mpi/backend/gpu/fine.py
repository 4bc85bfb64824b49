"""Scores and weights of listed samples: the second pass, and the first pass of local searches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cupy as cp
import numpy as np

from relion_mpi.backend.gpu.coarse import Candidates, job_offsets
from relion_mpi.backend.gpu.launch import BLOCK, block_for, blocks, group_size, product
from relion_mpi.backend.results import BestHypotheses

if TYPE_CHECKING:
    from relion_mpi.backend.gpu.grids import DeviceGrid
    from relion_mpi.backend.gpu.prepare import Images
    from relion_mpi.backend.gpu.project import References
    from relion_mpi.backend.gpu.scratch import Scratch
    from relion_mpi.backend.gpu.shifts import Phases
    from relion_mpi.backend.limits import Limits
    from relion_mpi.backend.protocol import Likelihood, LocalPrior

PIXELS = 4
"""Pixels of a thread of slice_times_image."""


@dataclass(frozen=True, slots=True)
class Samples:
    """The grid that job lists refer to.

    Attributes
    ----------
    direction, psi : of the (coarse or fine) grid
    n_child_direction, n_child_psi, n_child_shift : children of a coarse sample
    phases : of its shifts
    n_pix : leading pixels used
    """

    direction: Any
    psi: Any
    n_child_direction: int
    n_child_psi: int
    n_child_shift: int
    phases: Phases
    n_pix: int

    @property
    def n_child(self) -> int:
        """Children of a coarse orientation."""
        return self.n_child_direction * self.n_child_psi


@dataclass(frozen=True, slots=True)
class Posterior:
    """Slices and the weights of their shifts; both lie in the thread's scratch.

    Attributes
    ----------
    slices : uint32 (n_slice, words) records of slice.cuh, sorted by image
    weights : real (n_slice, n_fine_shift)
    chosen : int64 (n_chosen,) slices that carry weight
    """

    slices: Any
    weights: Any
    chosen: Any


@dataclass(frozen=True, slots=True)
class Scored:
    """Slices of job lists with what they score, all in the thread's scratch.

    Attributes
    ----------
    cross : real (n_slice, n_shift)
    slices : uint32 (n_slice, words) records of slice.cuh
    power : float64 (n_slice,)
    kept : uint8 (n_slice,) for the weighing
    """

    cross: Any
    slices: Any
    power: Any
    kept: Any


@dataclass(frozen=True, slots=True)
class Weighed:
    """Outcome of the weighing: weights in place of scores, and what each image's look like."""

    kept_masks: Any
    best: Any
    summary: Any
    n_kept: Any


def score(
    images: Images,
    references: References,
    jobs: Candidates,
    samples: Samples,
    grid: DeviceGrid,
    inv_sigma2: Any,
    scratch: Scratch,
    limits: Limits,
) -> Scored:
    """Score every child of every job.

    Raises
    ------
    MemoryError
        Together the images have more samples than the scratch is meant for.
    """
    arithmetic, geometry = grid.arithmetic, images.geometry
    real = arithmetic.real
    n_slice, n_pix = jobs.image.size * samples.n_child, samples.n_pix
    scoring = samples.phases.scoring
    a_slice = scoring.shape[1] * real.itemsize + arithmetic.slice_bytes + 9
    if n_slice * a_slice > limits.score_bytes and images.n_img > 1:
        msg = f"{n_slice} slices of {images.n_img} images are too many at once"
        raise MemoryError(msg)
    found = Scored(*scratch.arrays(
        "scores", ((n_slice, scoring.shape[1]), real),
        ((n_slice, arithmetic.slice_bytes // 4), np.uint32), ((n_slice,), np.float64),
        ((n_slice,), np.uint8),
    ))  # fmt: skip
    _list_slices(references, jobs, samples, grid, found.slices)
    block = block_for(blocks(n_pix, PIXELS))
    n_chunk = blocks(n_pix, PIXELS * block)
    # Exact: the power of each chunk of pixels is kept apart until all are added in their order.
    n_part = n_chunk if arithmetic.exact else 0
    if not arithmetic.exact:
        found.power[...] = 0
    per_call = max(1, limits.slice_bytes // (2 * n_pix * real.itemsize + 8 * n_part))
    kernel = arithmetic.kernel("fine", "slice_times_image", planar=references.planar)
    for first in range(0, n_slice, per_call):
        rows = slice(first, min(first + per_call, n_slice))
        n = rows.stop - rows.start
        z, parts = scratch.arrays(
            "slices", ((n, 2 * n_pix), real), ((n, n_part), np.float64)
        )
        per_block = group_size(n, n_chunk)
        kernel(
            (blocks(n, per_block), n_chunk), (block,),
            (references.source, np.int64(references.length), np.int32(references.size),
             references.limit, np.int32(grid.host.n_orient), found.slices[rows], np.int64(n),
             np.int32(per_block), geometry.slice_x, geometry.slice_y, np.int32(n_pix),
             np.int32(images.n_pix), images.masked, images.reference_ctf, inv_sigma2, z,
             parts if arithmetic.exact else found.power[rows]),
        )  # fmt: skip
        if arithmetic.exact:
            arithmetic.kernel("fine", "add_chunks")(
                (blocks(n),), (BLOCK,), (parts, np.int64(n), np.int32(n_part), found.power[rows])
            )
        product(z, scoring, found.cross[rows], tensor_cores=arithmetic.tensor_cores)
    return found


def _list_slices(
    references: References, jobs: Candidates, samples: Samples, grid: DeviceGrid, out: Any
) -> None:
    """Write a record of every child of every job."""
    n_slice = out.shape[0]
    if not n_slice:
        return
    grid.arithmetic.kernel("slices", "list_slices")(
        (blocks(n_slice),), (BLOCK,),
        (samples.direction, samples.psi, np.float64(references.padding),
         np.int32(grid.host.n_orient), np.int32(grid.host.n_psi),
         np.int32(samples.n_child_direction), np.int32(samples.n_child_psi), jobs.image,
         jobs.hypothesis, np.int64(n_slice), out),
    )  # fmt: skip


def weigh(
    scored: Scored,
    jobs: Candidates,
    samples: Samples,
    grid: DeviceGrid,
    likelihood: Likelihood,
    *,
    use_masks: bool,
    normalise: bool,
) -> Weighed:
    """Turn cross terms into weights, in place, and cut them at the adaptive fraction."""
    n_img = jobs.log_shift.shape[0]
    n_column = scored.cross.shape[1]
    n_word = jobs.masks.shape[1]
    scored.kept[...] = 0
    kept_masks = cp.zeros_like(jobs.masks) if not use_masks else jobs.masks
    best = cp.empty(n_img, np.int64)
    summary = cp.empty((n_img, 3))
    n_kept = cp.empty(n_img, np.int32)
    null = np.uint64(0)
    grid.arithmetic.kernel("posterior", "weigh")(
        (n_img,), (BLOCK,),
        (scored.cross, jobs.job_offsets * samples.n_child, scored.power, jobs.log_prior,
         jobs.log_shift, jobs.masks if use_masks else null, np.int32(n_word), np.int32(n_column),
         np.int32(samples.n_child), np.int32(samples.n_child_shift),
         np.int32(likelihood.metric == "cc"), np.int32(normalise),
         np.float64(likelihood.adaptive_fraction), scored.kept,
         null if use_masks else kept_masks, best, summary, n_kept),
    )  # fmt: skip
    return Weighed(kept_masks, best, summary, n_kept)


def search_local(
    images: Images,
    references: References,
    grid: DeviceGrid,
    prior: LocalPrior,
    likelihood: Likelihood,
    inv_sigma2: Any,
    scratch: Scratch,
    limits: Limits,
) -> Candidates:
    """Do what `Backend.search_local` promises."""
    real = grid.arithmetic.real
    counts = np.diff(prior.offsets)
    image = cp.asarray(np.repeat(np.arange(counts.size, dtype=np.int32), counts))
    n_word = (grid.host.n_shift + 31) // 32
    jobs = Candidates(
        image,
        cp.asarray(prior.hypothesis.astype(np.int32)),
        cp.asarray(prior.log_prior.astype(real)),
        cp.zeros((image.size, n_word), np.uint32),
        cp.asarray(np.maximum(prior.shift, -1e30).astype(real)),
        cp.asarray(prior.offsets),
        None,
    )
    samples = Samples(
        grid.coarse_direction, grid.coarse_psi, 1, 1, 1, grid.coarse_phases(images.geometry),
        images.geometry.host.n_coarse,
    )  # fmt: skip
    scored = score(images, references, jobs, samples, grid, inv_sigma2, scratch, limits)
    done = weigh(scored, jobs, samples, grid, likelihood, use_masks=False, normalise=False)
    chosen = cp.flatnonzero(scored.kept)
    return Candidates(
        image[chosen],
        jobs.hypothesis[chosen],
        jobs.log_prior[chosen],
        done.kept_masks[chosen],
        jobs.log_shift,
        job_offsets(image[chosen], images.n_img),
        done.n_kept,
    )


def search_fine(
    images: Images,
    references: References,
    grid: DeviceGrid,
    candidates: Candidates,
    likelihood: Likelihood,
    inv_sigma2: Any,
    scratch: Scratch,
    limits: Limits,
) -> tuple[Posterior, BestHypotheses]:
    """Do what `Backend.search_fine` promises."""
    samples = Samples(
        grid.fine_direction, grid.fine_psi, grid.n_child_direction, grid.n_child_psi,
        grid.n_child_shift, grid.fine_phases(images.geometry), images.n_pix,
    )  # fmt: skip
    scored = score(images, references, candidates, samples, grid, inv_sigma2, scratch, limits)
    done = weigh(scored, candidates, samples, grid, likelihood, use_masks=True, normalise=True)
    posterior = Posterior(scored.slices, scored.cross, cp.flatnonzero(scored.kept))
    return posterior, _best(done, candidates, samples, grid, scored.cross.shape[1])


def _best(
    done: Weighed, candidates: Candidates, samples: Samples, grid: DeviceGrid, n_column: int
) -> BestHypotheses:
    """Bring the best sample of each image to the host as grid indices."""
    n_img = done.best.size
    integers = cp.empty((4, n_img), np.int64)
    grid.arithmetic.kernel("posterior", "best_samples")(
        (blocks(n_img),), (BLOCK,),
        (done.best, candidates.job_offsets, candidates.hypothesis, candidates.n_significant,
         np.int32(n_column), np.int32(samples.n_child), np.int32(n_img), integers),
    )  # fmt: skip
    hypothesis, child, column, n_significant = integers.get()
    summary = done.summary.get()
    class_index, orient = np.divmod(hypothesis, grid.host.n_orient)
    direction, psi = np.divmod(orient, grid.host.n_psi)
    child_direction, child_psi = np.divmod(child, samples.n_child_psi)
    return BestHypotheses(
        class_index,
        direction * samples.n_child_direction + child_direction,
        psi * samples.n_child_psi + child_psi,
        column,
        np.exp(summary[:, 0] - summary[:, 1]),
        summary[:, 1].copy(),
        n_significant,
    )
