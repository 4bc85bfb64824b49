"""Which picks stand for which particles, one to one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Coordinates:
    """What is in a micrograph and what was picked.

    Attributes
    ----------
    truth : float64 (n, 2) as (x, y), pixels
    picks : float64 (n_pick, 2)
    merit : float64 (n_pick,) figures of merit
    """

    truth: NDArray[np.float64]
    picks: NDArray[np.float64]
    merit: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Counts:
    """Particles, picks, and pairs of both, of all micrographs."""

    n_truth: int
    n_pick: int
    n_pair: int

    @property
    def precision(self) -> float:
        """Share of the picks that are particles."""
        return self.n_pair / self.n_pick if self.n_pick else 0.0

    @property
    def recall(self) -> float:
        """Share of the particles that were picked."""
        return self.n_pair / self.n_truth if self.n_truth else 0.0

    @property
    def fdr(self) -> float:
        """Share of the picks that are none, the false discovery rate."""
        return 1.0 - self.precision if self.n_pick else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.n_pick + self.n_truth
        return 2.0 * self.n_pair / total if total else 0.0


def n_pairs(
    truth: NDArray[np.float64], picks: NDArray[np.float64], cutoff_pix: float
) -> int:
    """Count the most pairs of a particle and a pick that can be made, each used once.

    Parameters
    ----------
    truth, picks : float64 (n, 2)
    cutoff_pix
        Largest distance of a pair.

    Returns
    -------
    int
    """
    if not len(truth) or not len(picks):
        return 0
    near = cKDTree(truth).query_ball_point(picks, cutoff_pix)
    pick = np.repeat(np.arange(len(picks)), [len(one) for one in near])
    particle = np.array([k for one in near for k in one], np.int64)
    # Groups that cannot share pairs are matched apart: their matrices are small.
    n = len(truth) + len(picks)
    graph = coo_array((np.ones(pick.size), (particle, len(truth) + pick)), (n, n))
    _, group = connected_components(graph, directed=False)
    order = np.argsort(group[particle], kind="stable")
    ends = np.flatnonzero(np.diff(group[particle][order])) + 1
    return sum(_matched(particle[one], pick[one]) for one in np.split(order, ends) if one.size)


def counts_at(
    micrographs: Sequence[Coordinates], threshold: float, cutoff_pix: float
) -> Counts:
    """Count at a threshold, over all micrographs.

    Parameters
    ----------
    micrographs
        Particles and picks.
    threshold
        Lowest figure of merit of a pick.
    cutoff_pix
        Largest distance of a pair.

    Returns
    -------
    Counts
    """
    n_truth = n_pick = n_pair = 0
    for one in micrographs:
        picks = one.picks[one.merit >= threshold]
        n_truth, n_pick = n_truth + len(one.truth), n_pick + len(picks)
        n_pair += n_pairs(one.truth, picks, cutoff_pix)
    return Counts(n_truth, n_pick, n_pair)


def curve(
    micrographs: Sequence[Coordinates], cutoff_pix: float, n_most: int = 200
) -> tuple[NDArray[np.float64], list[Counts]]:
    """Count over thresholds.

    Parameters
    ----------
    micrographs
        Particles and picks.
    cutoff_pix
        Largest distance of a pair.
    n_most
        Thresholds at most; more figures of merit are thinned out evenly.

    Returns
    -------
    thresholds : float64 (n,)
        Ascending, each the figure of merit of a pick.
    counts : list of Counts
        At each threshold.
    """
    figures = np.unique(np.concatenate([one.merit for one in micrographs] or [np.empty(0)]))
    if figures.size > n_most:
        figures = figures[np.linspace(0, figures.size - 1, n_most).round().astype(np.int64)]
    return figures, [counts_at(micrographs, one, cutoff_pix) for one in figures]


def _matched(particle: NDArray[np.int64], pick: NDArray[np.int64]) -> int:
    """Match one group exactly."""
    rows, row = np.unique(particle, return_inverse=True)
    columns, column = np.unique(pick, return_inverse=True)
    cost = np.ones((rows.size, columns.size))
    cost[row, column] = 0.0
    return int((cost[linear_sum_assignment(cost)] == 0.0).sum())
