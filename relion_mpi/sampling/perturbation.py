"""The random offset that grids get in every iteration."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def next_perturbation(current: float, factor: float, rng: np.random.Generator) -> float:
    """Return the perturbation of the next iteration.

    Consecutive values differ by half the factor at least (on a circle of twice the factor), so that
    the grid points of consecutive iterations never coincide.

    Parameters
    ----------
    current
        Perturbation of this iteration, a fraction of the coarse step.
    factor
        Largest size, RELION's --perturb (0.5 is usual); 0 turns the perturbation off.
    rng
        Source of random numbers.

    Returns
    -------
    float
        Fraction of the coarse step in [-factor, factor].

    Notes
    -----
    Source: RELION healpix_sampling.cpp, resetRandomlyPerturbedSampling.
    """
    if factor <= 0:
        return 0.0
    moved = current + float(rng.uniform(0.5 * factor, factor))
    return moved - 2.0 * factor if moved > factor else moved
