"""From scores to particles: figures of merit, thresholds, distances, positions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.backend.picking import Peaks, PickingGrid

APART = 2.3
"""Distance of the means of two kinds of peaks, over their joint deviation, at which they are two. A
normal distribution cut in the middle has 1.9."""
REACHED_BY_NOISE = 4.0
"""Deviations above the median of its peaks that noise hardly reaches in a micrograph."""
NOISE_SHARE = 0.625
"""Share of the expected score that noise may reach: a figure of merit of 0.25."""
BELOW_MEDIAN = 15.865
"""Percentile one deviation below the median."""
USUAL = 0.95
"""Share of the blobs that are surely no ice."""
FEWEST = 4
"""Peaks without which there are no two kinds."""


def expected_score(scores: NDArray[np.float32], *, blobs: bool = False) -> float:
    """Return the score that a particle should have, told from all peaks of a micrograph.

    Parameters
    ----------
    scores : float32 (n,)
        Peaks of noise and of particles.
    blobs
        Whether contrasts were scored, which are not all noise where there is no particle.

    Returns
    -------
    float
        The median of the higher kind of peaks; at least so much that the lower kind, which is
        noise, stays below a figure of merit of 0.25. For blobs the median of the higher kind or,
        if there is one kind only, of all. 1 without peaks.

    Notes
    -----
    The kinds are cut where the variance between them is largest (Otsu 1979, IEEE Trans. SMC 9:62).
    """
    if not scores.size:
        return 1.0
    ordered = np.sort(scores.astype(np.float64))
    if blobs:
        return _expected_contrast(ordered)
    cut, distance = _two_kinds(ordered)
    noise, particles = ordered[:cut], ordered[cut:]
    if distance < APART:
        noise, particles = ordered, ordered[:0]
    low, middle = np.percentile(noise, (BELOW_MEDIAN, 50.0))
    reached = middle + REACHED_BY_NOISE * (middle - low)
    likely = float(np.median(particles)) if particles.size else 0.0
    least = max(float(reached) / NOISE_SHARE, float(np.finfo(np.float32).tiny))
    return max(likely, least)


def _expected_contrast(ordered: NDArray[np.float64]) -> float:
    """Return the contrast that a blob should have; ice and dirt are few and have much."""
    bright = ordered[ordered > 0]
    if not bright.size:
        return 1.0
    cut, distance = _two_kinds(np.minimum(bright, np.quantile(bright, USUAL)))
    return float(np.median(bright[cut:] if distance >= APART else bright))


def _two_kinds(ordered: NDArray[np.float64]) -> tuple[int, float]:
    """Return where the second kind begins, and how far apart the means are in deviations."""
    n = ordered.size
    if n < FEWEST:
        return n - 1, 0.0
    first = np.arange(1, n)
    sums, squares = np.cumsum(ordered), np.cumsum(ordered**2)
    means = sums[:-1] / first, (sums[-1] - sums[:-1]) / (n - first)
    between = first * (n - first) * (means[1] - means[0]) ** 2
    k = int(np.argmax(between))
    cut = k + 1
    variances = (
        squares[k] / cut - means[0][k] ** 2,
        (squares[-1] - squares[k]) / (n - cut) - means[1][k] ** 2,
    )
    spread = np.sqrt(max(sum(variances), np.finfo(np.float64).tiny))
    return cut, float((means[1][k] - means[0][k]) / spread)


def told_from(radius_pix: float) -> float:
    """Return how far apart peaks are from which the expected score is told, in pixels.

    It leaves out the lower peaks around a particle, and leaves those in the gaps of a micrograph
    that is full of particles.
    """
    return 0.7 * radius_pix


def merit(score: NDArray[np.float32], expected: float) -> NDArray[np.float64]:
    """Return figures of merit: 1 is what a particle should have, 0 as likely noise.

    Notes
    -----
    Source: Scheres 2015, J. Struct. Biol. 189:114, equation for R, where the likelihood ratio of a
    pixel is near 1: (exp(a) - 1) / (exp(b) - 1) becomes a / b, which is 2 score / expected - 1.
    """
    return 2.0 * score.astype(np.float64) / expected - 1.0


def positions(peaks: Peaks, grid: PickingGrid) -> NDArray[np.float64]:
    """Return where peaks are in the micrograph, float64 (n, 2) as (x, y), pixels from 0.

    Each is the top of the parabolas through the peak and its neighbours.
    """
    score, around = peaks.score.astype(np.float64), peaks.around.astype(np.float64)
    shift = []
    for before, after in (around[:, 2:4].T, around[:, 0:2].T):
        bend = before - 2.0 * score + after
        offset = np.divide(0.5 * (before - after), bend, out=np.zeros_like(bend), where=bend < 0)
        shift.append(np.clip(offset, -0.5, 0.5))
    x = (peaks.x + shift[0]) * (grid.padded[1] / grid.work[1])
    y = (peaks.y + shift[1]) * (grid.padded[0] / grid.work[0])
    return np.stack([x, y], axis=1)


def apart(
    points: NDArray[np.float64], distance_pix: NDArray[np.float64] | float
) -> NDArray[np.intp]:
    """Choose points, the first ones first, that are not near one that was chosen before.

    Parameters
    ----------
    points : float64 (n, 2)
        The best first.
    distance_pix
        Of each point, (n,), or one for all: it keeps others so far away.

    Returns
    -------
    intp (n_chosen,)
        Indices of `points`, in their order.
    """
    if not len(points):
        return np.empty(0, np.intp)
    reach = np.broadcast_to(np.asarray(distance_pix, np.float64), len(points))
    near = cKDTree(points).query_ball_point(points, np.nextafter(reach, 0.0))
    free = np.ones(len(points), np.bool_)
    chosen = []
    for k in range(len(points)):
        if free[k]:
            chosen.append(k)
            free[near[k]] = False
    return np.array(chosen, np.intp)
