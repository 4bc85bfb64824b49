"""Weights of the second pass: normalised, cut at the adaptive fraction, listed by slice."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from relion_mpi.backend.cpu.candidates import offsets_of
from relion_mpi.backend.cpu.jobs import Children, fine_children, phases_of, score
from relion_mpi.backend.cpu.local import cut_scores
from relion_mpi.backend.results import BestHypotheses

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.backend.cpu.candidates import Candidates
    from relion_mpi.backend.cpu.prepare import Images
    from relion_mpi.backend.cpu.project import References
    from relion_mpi.backend.protocol import Likelihood, SearchGrid


SCORE_BYTES = 8 * 2**20
"""Scores held at a time, for each thread; decides how many images are scored together."""


@dataclass(frozen=True, slots=True)
class Slices:
    """Slices of consecutive images that carry weight, each with its shifts.

    Attributes
    ----------
    first_image : in the batch
    slice_offsets : int64 (n_img + 1,) slices of each image
    hypothesis : int64 (n_slice,) coarse hypothesis
    child : int32 (n_slice,)
    weight_offsets : int64 (n_slice + 1,)
    shift : int32 (n_weight,) fine shift
    weight : float (n_weight,) posterior probability
    """

    first_image: int
    slice_offsets: NDArray[np.int64]
    hypothesis: NDArray[np.int64]
    child: NDArray[np.int32]
    weight_offsets: NDArray[np.int64]
    shift: NDArray[np.int32]
    weight: NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Posterior:
    """The slices of a batch.

    Attributes
    ----------
    groups : slices of its images, in their order
    children : the fine grid
    """

    groups: tuple[Slices, ...]
    children: Children

    @property
    def n_slice(self) -> int:
        """Number of slices."""
        return sum(group.hypothesis.size for group in self.groups)


@numba.njit(cache=True, parallel=True)
def count_kept(scores, job_offsets, shift_offsets, cut, n_slice, n_weight, best):  # type: ignore[no-untyped-def]
    """Count per job the children and weights at or above the cut; note each image's best sample.

    Parameters
    ----------
    scores : float (n_pair, n_child, n_shift_child)
    n_slice, n_weight : int64 (n_job,) output
    best : int64 (n_img, 4) output: job, child, pair, shift child
    """
    _, n_child, n_shift_child = scores.shape
    for i in numba.prange(cut.size):
        top = -np.inf
        for job in range(job_offsets[i], job_offsets[i + 1]):
            slices, weights = 0, 0
            for child in range(n_child):
                hit = 0
                for pair in range(shift_offsets[job], shift_offsets[job + 1]):
                    for c in range(n_shift_child):
                        v = scores[pair, child, c]
                        hit += v >= cut[i]
                        if v > top:
                            top = v
                            best[i, 0], best[i, 1], best[i, 2], best[i, 3] = job, child, pair, c
                slices += hit > 0
                weights += hit
            n_slice[job] = slices
            n_weight[job] = weights


@numba.njit(cache=True, parallel=True)
def fill_kept(  # type: ignore[no-untyped-def]
    scores, job_offsets, hypothesis, shift_offsets, shift, cut, norm, slice_start,
    weight_start, hyp_out, child_out, weight_offsets, shift_out, weight_out,
):  # fmt: skip
    """Write the kept slices and weights; weight = exp(score - norm)."""
    _, n_child, n_shift_child = scores.shape
    for i in numba.prange(cut.size):
        for job in range(job_offsets[i], job_offsets[i + 1]):
            s, w = slice_start[job], weight_start[job]
            for child in range(n_child):
                before = w
                for pair in range(shift_offsets[job], shift_offsets[job + 1]):
                    for c in range(n_shift_child):
                        v = scores[pair, child, c]
                        if v >= cut[i]:
                            shift_out[w] = shift[pair] * n_shift_child + c
                            weight_out[w] = np.exp(v - norm[i])
                            w += 1
                if w > before:
                    hyp_out[s] = hypothesis[job]
                    child_out[s] = child
                    weight_offsets[s + 1] = w
                    s += 1


def search_fine(
    images: Images,
    references: References,
    grid: SearchGrid,
    candidates: Candidates,
    likelihood: Likelihood,
    inv_sigma2: NDArray[Any],
) -> tuple[Posterior, BestHypotheses]:
    """Do what `Backend.search_fine` promises, a group of images after the other."""
    children = fine_children(grid)
    phases = phases_of(children, images, images.geometry.n_pix)
    is_cc = likelihood.metric == "cc"
    groups, found = [], []
    for first, last in _image_groups(candidates, children, images.masked.dtype.itemsize):
        mine = candidates.of_images(first, last)
        scores = score(
            images, references, mine, children, inv_sigma2, phases, is_cc=is_cc, first_image=first
        )
        slices, best = _select(scores, mine, children, likelihood, first)
        groups.append(slices)
        found.append(best)
        del scores  # before there are others
    joined = (
        np.concatenate([getattr(best, field.name) for best in found])
        for field in fields(BestHypotheses)
    )
    return Posterior(tuple(groups), children), BestHypotheses(*joined)


def _image_groups(
    candidates: Candidates, children: Children, itemsize: int
) -> list[tuple[int, int]]:
    """Split a batch so that the scores of a group fit in SCORE_BYTES a thread, one image's always.

    An image has to itself what a thread has: all work on any group of several images.
    """
    pairs = candidates.shift_offsets[candidates.job_offsets]
    each = children.n_child * children.n_shift_child * itemsize
    limit = SCORE_BYTES * numba.get_num_threads() // each
    groups, first, n_img = [], 0, pairs.size - 1
    while first < n_img:
        last = int(np.searchsorted(pairs, pairs[first] + limit, side="right")) - 1
        last = min(max(last, first + 1), n_img)
        groups.append((first, last))
        first = last
    return groups


def _select(
    scores: NDArray[Any],
    candidates: Candidates,
    children: Children,
    likelihood: Likelihood,
    first_image: int,
) -> tuple[Slices, BestHypotheses]:
    """Normalise and cut the scores of a group of images."""
    is_cc, n_img = likelihood.metric == "cc", candidates.n_significant.size
    per_pair = children.n_child * children.n_shift_child
    cut, peak, log_total = np.empty(n_img), np.empty(n_img), np.empty(n_img)
    n_above = np.empty(n_img, np.int64)
    sample_offsets = candidates.shift_offsets[candidates.job_offsets] * per_pair
    fraction = 0.0 if is_cc else likelihood.adaptive_fraction
    limit = 1 if is_cc else 0
    cut_scores(scores.ravel(), sample_offsets, fraction, limit, cut, peak, log_total, n_above)
    if is_cc:
        log_total = peak
    n_job = candidates.hypothesis.size
    n_slice, n_weight = np.empty(n_job, np.int64), np.empty(n_job, np.int64)
    best = np.zeros((n_img, 4), np.int64)
    count_kept(
        scores, candidates.job_offsets, candidates.shift_offsets, cut, n_slice, n_weight, best
    )
    slices = _fill(scores, candidates, cut, log_total, (n_slice, n_weight), first_image)
    return slices, _best(best, candidates, children, peak, log_total)


def _fill(
    scores: NDArray[Any],
    candidates: Candidates,
    cut: NDArray[np.float64],
    norm: NDArray[np.float64],
    counts: tuple[NDArray[np.int64], NDArray[np.int64]],
    first_image: int,
) -> Slices:
    """List the samples at or above the cut; counts are of `count_kept`."""
    slice_start, weight_start = map(offsets_of, counts)
    hypothesis = np.empty(slice_start[-1], np.int64)
    child = np.empty(slice_start[-1], np.int32)
    weight_offsets = np.zeros(slice_start[-1] + 1, np.int64)
    shift = np.empty(weight_start[-1], np.int32)
    weight = np.empty(weight_start[-1], scores.dtype)
    fill_kept(
        scores, candidates.job_offsets, candidates.hypothesis, candidates.shift_offsets,
        candidates.shift, cut, norm, slice_start, weight_start, hypothesis, child,
        weight_offsets, shift, weight,
    )  # fmt: skip
    return Slices(
        first_image, slice_start[candidates.job_offsets], hypothesis, child, weight_offsets, shift,
        weight,
    )  # fmt: skip


def _best(
    best: NDArray[np.int64],
    candidates: Candidates,
    children: Children,
    peak: NDArray[np.float64],
    log_total: NDArray[np.float64],
) -> BestHypotheses:
    """Translate the best samples into grid indices."""
    hypothesis = candidates.hypothesis[best[:, 0]]
    class_index, orient = np.divmod(hypothesis, children.n_orient)
    direction, psi = np.divmod(orient, children.n_psi)
    child_direction, child_psi = np.divmod(best[:, 1], children.n_psi_child)
    return BestHypotheses(
        class_index,
        direction * children.n_direction + child_direction,
        psi * children.n_psi_child + child_psi,
        candidates.shift[best[:, 2]].astype(np.int64) * children.n_shift_child + best[:, 3],
        np.exp(peak - log_total),
        log_total,
        candidates.n_significant,
    )
