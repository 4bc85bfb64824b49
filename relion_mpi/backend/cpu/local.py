"""The first pass of local searches: every shift at the listed hypotheses."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from relion_mpi.backend.cpu.candidates import Candidates, offsets_of
from relion_mpi.backend.cpu.jobs import coarse_children, phases_of, score
from relion_mpi.backend.cpu.significance import (
    N_BINS,
    bin_of,
    bin_of_cut,
    cut_within,
    log_margin,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.backend.cpu.prepare import Images
    from relion_mpi.backend.cpu.project import References
    from relion_mpi.backend.protocol import Likelihood, LocalPrior, SearchGrid


@numba.njit(cache=True, parallel=True)
def cut_scores(scores, sample_offsets, fraction, limit, cut, peak, log_total, n_above):  # type: ignore[no-untyped-def]
    """Find each image's significance threshold in a flat list of log weights.

    Parameters
    ----------
    scores : float (n,) samples of image i at sample_offsets[i] .. sample_offsets[i + 1]
    cut, peak, log_total : float64 (n_img,) output: threshold, best, log of the sum
    n_above : int64 (n_img,) output: significant samples
    """
    for i in numba.prange(cut.size):
        mine = scores[sample_offsets[i] : sample_offsets[i + 1]]
        best = -np.inf
        for v in mine:
            best = max(best, v)
        peak[i] = best
        margin = log_margin(mine.size)
        weight, count = np.zeros(N_BINS), np.zeros(N_BINS, np.int64)
        total, least = 0.0, best
        for v in mine:
            if v > best - margin:
                w = math.exp(v - best)
                b = bin_of(v, best, margin)
                weight[b] += w
                count[b] += 1
                total += w
                least = min(least, v)
        chosen, before, n_before = bin_of_cut(weight, count, total, fraction, limit)
        cut[i] = least
        if chosen >= 0:
            members = np.empty(count[chosen])
            n = 0
            for v in mine:
                if v > best - margin and bin_of(v, best, margin) == chosen:
                    members[n] = v
                    n += 1
            cut[i] = cut_within(members, best, before, n_before, fraction * total, limit)
        log_total[i] = best + np.log(total)
        above = 0
        for v in mine:
            above += v >= cut[i]
        n_above[i] = above


def search_local(
    images: Images,
    references: References,
    grid: SearchGrid,
    prior: LocalPrior,
    likelihood: Likelihood,
    inv_sigma2: NDArray[Any],
) -> Candidates:
    """Do what `Backend.search_local` promises."""
    n_shift, n_job = grid.n_shift, prior.hypothesis.size
    everything = Candidates(
        prior.offsets,
        prior.hypothesis,
        prior.log_prior,
        np.arange(n_job + 1, dtype=np.int64) * n_shift,
        np.tile(np.arange(n_shift, dtype=np.int32), n_job),
        prior.shift,
        np.diff(prior.offsets) * n_shift,
    )
    is_cc = likelihood.metric == "cc"
    children = coarse_children(grid)
    scores = score(
        images, references, everything, children, inv_sigma2,
        phases_of(children, images, images.geometry.n_coarse), is_cc=is_cc,
    ).ravel()  # fmt: skip
    n_img = images.n_img
    cut, peak, total = np.empty(n_img), np.empty(n_img), np.empty(n_img)
    n_above = np.empty(n_img, np.int64)
    fraction = 0.0 if is_cc else likelihood.adaptive_fraction
    limit = 1 if is_cc else likelihood.max_significants
    cut_scores(scores, prior.offsets * n_shift, fraction, limit, cut, peak, total, n_above)
    image_of_job = np.repeat(np.arange(n_img), np.diff(prior.offsets))
    keep = scores.reshape(n_job, n_shift) >= cut[image_of_job, None]
    job, shift = np.nonzero(keep)
    kept_jobs = np.flatnonzero(keep.any(axis=1))
    return Candidates(
        offsets_of(np.bincount(image_of_job[kept_jobs], minlength=n_img)),
        prior.hypothesis[kept_jobs],
        prior.log_prior[kept_jobs],
        offsets_of(keep.sum(axis=1)[kept_jobs]),
        shift.astype(np.int32),
        prior.shift,
        np.bincount(image_of_job[job], minlength=n_img),
    )
