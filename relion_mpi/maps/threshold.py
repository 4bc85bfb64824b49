"""The density that parts a particle from its solvent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.fourier.shells import radius_grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_BINS = 4096
MOST_VALUES = 2_000_000
NOISE_SIGMAS = 3.0
SIGMA_OF_MAD = 1.4826
"""Standard deviation of a Gaussian over its median absolute deviation."""


def automatic_threshold(volume: NDArray[np.floating]) -> float:
    """Find the contour of a low-passed map.

    Parameters
    ----------
    volume : float (n, n, n)

    Returns
    -------
    float
        Otsu's threshold of the voxels in the inscribed ball: half-way between the mean of the
        particle and that of the solvent, where the low-pass leaves the surface of a body. At least
        three standard deviations above the solvent, for where noise is strong Otsu's threshold cuts
        the noise itself. The solvent is where values are densest; its deviation is told from values
        below, to which the particle does not add.

    Source
    ------
    Otsu 1979, IEEE Trans. Syst. Man Cybern. 9, 62.
    """
    n = volume.shape[0]
    values = volume[radius_grid(n, 3) <= n / 2].astype(np.float64)
    values = np.sort(values[:: 1 + values.size // MOST_VALUES])
    threshold = _otsu(values)
    solvent = _densest(values)
    below = solvent - values[: np.searchsorted(values, solvent)]
    sigma = SIGMA_OF_MAD * float(np.median(below)) if below.size else 0.0
    raised = solvent + NOISE_SIGMAS * sigma
    # Where a particle fills the ball, it is the densest itself, and nothing lies far above it.
    return max(threshold, raised) if raised < values[-1] else threshold


def _densest(values: NDArray[np.float64]) -> float:
    """Return the middle of the shortest interval with a quarter of the (ascending) values."""
    quarter = values.size // 4
    first = int((values[quarter:] - values[: values.size - quarter]).argmin())
    return float(values[first] + values[first + quarter]) / 2


def _otsu(values: NDArray[np.float64]) -> float:
    """Return the edge of a bin that maximises the variance between the two classes."""
    counts, edges = np.histogram(values, N_BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    lower, total = np.cumsum(counts)[:-1], counts.sum()
    moment = np.cumsum(counts * centres)
    mean_lower = moment[:-1] / np.maximum(lower, 1)
    mean_upper = (moment[-1] - moment[:-1]) / np.maximum(total - lower, 1)
    between = lower * (total - lower) * (mean_upper - mean_lower) ** 2
    # Empty bins between the classes give a plateau; its middle is taken.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12))
    return float((edges[1 + best[0]] + edges[1 + best[-1]]) / 2)
