"""Scores and weights of listed samples: the second pass, and the first pass of local searches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cupy as cp
import numpy as np

from relion_mpi.backend.gpu.coarse import Candidates, job_offsets
from relion_mpi.backend.gpu.launch import BLOCK, Arithmetic
from relion_mpi.backend.protocol import BestHypotheses

if TYPE_CHECKING:
    from relion_mpi.backend.gpu.grids import DeviceGrid
    from relion_mpi.backend.gpu.prepare import Images
    from relion_mpi.backend.gpu.project import References
    from relion_mpi.backend.gpu.shifts import Phases
    from relion_mpi.backend.protocol import Likelihood, LocalPrior

SLICE_BYTES = 2 * 2**30
"""Slices waiting for the product at a time."""


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
    """Slices that carry weight.

    Attributes
    ----------
    image, hypothesis, child : int32 (n_slice,)
    weights : real (n_slice, n_fine_shift)
    """

    image: Any
    hypothesis: Any
    child: Any
    weights: Any


@dataclass(frozen=True, slots=True)
class Weighed:
    """Outcome of the weighing: weights in place of scores, and what each image's look like."""

    kept: Any
    kept_masks: Any
    best: Any
    summary: Any
    n_kept: Any


def cross_terms(
    images: Images,
    references: References,
    jobs: Candidates,
    samples: Samples,
    grid: DeviceGrid,
    inv_sigma2: Any,
    arithmetic: Arithmetic,
) -> tuple[Any, Any]:
    """Return cross terms (n_slice, n_shift) and power terms (n_slice,) of all children."""
    n_job = jobs.image.size
    n_slice, n_pix = n_job * samples.n_child, samples.n_pix
    n_shift = samples.phases.scoring.shape[1]
    scoring = samples.phases.scoring
    if n_pix < images.n_pix:
        full = images.n_pix
        scoring = cp.concatenate([scoring[:n_pix], scoring[full : full + n_pix]])
    cross = cp.empty((n_slice, n_shift), arithmetic.real)
    power = cp.empty(n_slice, arithmetic.real)
    per_call = max(1, SLICE_BYTES // (2 * n_pix * arithmetic.real.itemsize * samples.n_child))
    geometry = images.geometry
    for first in range(0, n_job, per_call):
        last = min(first + per_call, n_job)
        rows = slice(first * samples.n_child, last * samples.n_child)
        n = rows.stop - rows.start
        z = cp.empty((n, 2 * n_pix), arithmetic.real)
        arithmetic.kernel("fine", "slice_times_image")(
            (n,), (BLOCK if n_pix >= 512 else 128,),
            (references.volume, np.int64(references.length), np.int32(references.size),
             references.limit, np.float64(references.padding), samples.direction, samples.psi,
             np.int32(grid.host.n_orient), np.int32(grid.host.n_psi),
             np.int32(samples.n_child_direction), np.int32(samples.n_child_psi),
             jobs.image[first:last], jobs.hypothesis[first:last], geometry.slice_x,
             geometry.slice_y, np.int32(n_pix), np.int32(images.n_pix), images.masked,
             images.reference_ctf, inv_sigma2, z, power[rows]),
        )  # fmt: skip
        cp.matmul(z, scoring, out=cross[rows])
    return cross, power


def weigh(
    cross: Any,
    power: Any,
    jobs: Candidates,
    samples: Samples,
    likelihood: Likelihood,
    arithmetic: Arithmetic,
    *,
    use_masks: bool,
    normalise: bool,
) -> Weighed:
    """Turn cross terms into weights, in place, and cut them at the adaptive fraction."""
    n_img = jobs.log_shift.shape[0]
    n_slice, n_column = cross.shape
    n_word = jobs.masks.shape[1]
    kept = cp.zeros(n_slice, np.uint8)
    kept_masks = cp.zeros_like(jobs.masks) if not use_masks else jobs.masks
    best = cp.empty(n_img, np.int64)
    summary = cp.empty((n_img, 3))
    n_kept = cp.empty(n_img, np.int32)
    null = np.uint64(0)
    arithmetic.kernel("posterior", "weigh")(
        (n_img,), (BLOCK,),
        (cross, jobs.job_offsets * samples.n_child, power, jobs.log_prior, jobs.log_shift,
         jobs.masks if use_masks else null, np.int32(n_word), np.int32(n_column),
         np.int32(samples.n_child), np.int32(samples.n_child_shift),
         np.int32(likelihood.metric == "cc"), np.int32(normalise),
         np.float64(likelihood.adaptive_fraction), kept, null if use_masks else kept_masks, best,
         summary, n_kept),
    )  # fmt: skip
    return Weighed(kept, kept_masks, best - 1, summary, n_kept)


def search_local(
    images: Images,
    references: References,
    grid: DeviceGrid,
    prior: LocalPrior,
    likelihood: Likelihood,
    inv_sigma2: Any,
    arithmetic: Arithmetic,
) -> Candidates:
    """Do what `Backend.search_local` promises."""
    counts = np.diff(prior.offsets)
    image = cp.asarray(np.repeat(np.arange(counts.size, dtype=np.int32), counts))
    n_word = (grid.host.n_shift + 31) // 32
    jobs = Candidates(
        image,
        cp.asarray(prior.orient.astype(np.int32)),
        cp.asarray(prior.log_prior.astype(arithmetic.real)),
        cp.zeros((image.size, n_word), np.uint32),
        cp.asarray(np.maximum(prior.shift, -1e30).astype(arithmetic.real)),
        cp.asarray(prior.offsets),
        None,
    )
    samples = Samples(
        grid.coarse_direction, grid.coarse_psi, 1, 1, 1, grid.coarse_phases(images.geometry),
        images.geometry.host.n_coarse,
    )  # fmt: skip
    cross, power = cross_terms(
        images, references, jobs, samples, grid, inv_sigma2, arithmetic
    )
    done = weigh(
        cross, power, jobs, samples, likelihood, arithmetic, use_masks=False, normalise=False
    )
    chosen = cp.flatnonzero(done.kept)
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
    arithmetic: Arithmetic,
) -> tuple[Posterior, BestHypotheses]:
    """Do what `Backend.search_fine` promises."""
    samples = Samples(
        grid.fine_direction, grid.fine_psi, grid.n_child_direction, grid.n_child_psi,
        grid.n_child_shift, grid.fine_phases(images.geometry), images.n_pix,
    )  # fmt: skip
    cross, power = cross_terms(
        images, references, candidates, samples, grid, inv_sigma2, arithmetic
    )
    done = weigh(
        cross, power, candidates, samples, likelihood, arithmetic, use_masks=True, normalise=True
    )
    chosen = cp.flatnonzero(done.kept)
    job, child = cp.divmod(chosen, samples.n_child)
    posterior = Posterior(
        candidates.image[job],
        candidates.hypothesis[job],
        child.astype(np.int32),
        cross[chosen],
    )
    return posterior, _best(done, candidates, samples, grid, cross.shape[1])


def _best(
    done: Weighed, candidates: Candidates, samples: Samples, grid: DeviceGrid, n_column: int
) -> BestHypotheses:
    """Bring the best sample of each image to the host as grid indices."""
    row, column = cp.divmod(done.best, n_column)
    row += candidates.job_offsets[:-1] * samples.n_child
    job, child = cp.divmod(row, samples.n_child)
    hypothesis = candidates.hypothesis[cp.minimum(job, candidates.hypothesis.size - 1)]
    integers = cp.stack(
        [hypothesis.astype(np.int64), child, column, candidates.n_significant.astype(np.int64)]
    ).get()
    summary = done.summary.get()
    hypothesis, child, column, n_significant = integers
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
