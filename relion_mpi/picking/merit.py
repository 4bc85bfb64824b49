"""From scores to particles: figures of merit, thresholds, distances, positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.backend.picking import Peaks, PickingGrid

CLEAR = 6.0
"""Deviations above the median score at which a peak is surely no noise."""
REACHED_BY_NOISE = 4.5
"""Deviations above the median score that noise alone hardly reaches in a micrograph."""
NOISE_SHARE = 0.625
"""Share of the expected score that noise alone may reach: a figure of merit of 0.25."""
BELOW_MEDIAN = 15.865
"""Percentile one deviation below the median. What is above it particles change."""
N_SAMPLE = 2**17
"""Scores from which median and deviation are found, at least; see `sample_step`."""


@dataclass(frozen=True, slots=True)
class NoiseLevel:
    """What the scores of a micrograph are where there is no particle."""

    median: float
    deviation: float

    @property
    def reached(self) -> float:
        """What noise alone hardly reaches."""
        return self.median + REACHED_BY_NOISE * self.deviation

    @property
    def clear(self) -> float:
        """Where peaks are surely no noise."""
        return self.median + CLEAR * self.deviation

    def lowest(self, threshold: float) -> float:
        """Return the lowest score that a figure of merit of `threshold` can have."""
        return min(score_of(threshold, self.reached / NOISE_SHARE), self.clear)

    def expected(self, scores: NDArray[np.float32]) -> float:
        """Return the score that a particle should have.

        Parameters
        ----------
        scores : float32 (n,)
            Of peaks that are not the same particle.

        Returns
        -------
        float
            The median of the clear ones, but so much that noise alone stays below 0.25.
        """
        clear = scores[scores >= self.clear]
        least = self.reached / NOISE_SHARE
        return max(float(np.median(clear)), least) if clear.size else least


def noise_level(sample: NDArray[np.float32]) -> NoiseLevel:
    """Measure the scores of a micrograph.

    Parameters
    ----------
    sample : float32 (n,)
        Scores of pixels all over it.

    Returns
    -------
    NoiseLevel
        The deviation is that below the median.
    """
    low, median = np.percentile(sample, (BELOW_MEDIAN, 50.0))
    return NoiseLevel(float(median), float(median - low))


def sample_step(n_y: int, n_x: int) -> int:
    """Return how many rows and columns apart scores are sampled."""
    return max(int(np.sqrt(n_y * n_x / N_SAMPLE)), 1)


def merit(score: NDArray[np.float32], expected: float) -> NDArray[np.float64]:
    """Return figures of merit: 1 is what a particle should have, 0 as likely noise.

    Notes
    -----
    Source: Scheres 2015, J. Struct. Biol. 189:114, equation for R, where the likelihood ratio of a
    pixel is near 1: (exp(a) - 1) / (exp(b) - 1) becomes a / b, which is 2 score / expected - 1.
    """
    return 2.0 * score.astype(np.float64) / expected - 1.0


def score_of(figure: float, expected: float) -> float:
    """Return the score of a figure of merit."""
    return 0.5 * (1.0 + figure) * expected


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
