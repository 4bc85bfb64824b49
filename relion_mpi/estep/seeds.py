"""Which class a particle takes part in while classes are seeded from one reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

STREAM = 13
"""Tells these random numbers from others of the same particle."""


def seeded_classes(
    random_seed: int, particle: NDArray[np.int64], n_class: int
) -> NDArray[np.int64]:
    """Draw a class for each particle, the same whatever the batches and the ranks.

    Parameters
    ----------
    random_seed
        Of the run.
    particle : int64 (n,)
        Row of each particle in the table.
    n_class
        Classes to draw from.

    Returns
    -------
    int64 (n,)
        From 0.

    Source
    ------
    RELION expectationSomeParticles: with one reference for several classes, nothing else tells
    these apart.
    """
    generators = (np.random.default_rng([random_seed, int(p), STREAM]) for p in particle)
    return np.array([one.integers(n_class) for one in generators], np.int64)
