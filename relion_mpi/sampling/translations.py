"""The grid of in-plane translations and its finer children."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relion_mpi.core.errors import InputError

Float64Array = NDArray[np.float64]

# RELION's allowance for rounding on the rim of the search circle (square Angstrom).
_RIM_ANGST2 = 0.001


@dataclass(frozen=True, slots=True, eq=False)
class TranslationGrid:
    """Translations on a square grid within a circle, as (x, y) in Angstrom.

    Attributes
    ----------
    range_angst, step_angst
        Radius and spacing of the coarse grid.
    oversampling
        How many times the step is halved in the fine grid.
    perturbation
        Shift of the whole grid in x and in y, as a fraction of `step_angst`.
    coarse_angst
        float64 (n, 2) coarse translations WITHOUT the perturbation, for priors.
    """

    range_angst: float
    step_angst: float
    oversampling: int
    perturbation: float
    coarse_angst: Float64Array

    @property
    def n_shift(self) -> int:
        """Number of coarse translations."""
        return len(self.coarse_angst)

    @property
    def n_fine_each(self) -> int:
        """Number of fine translations in each coarse one."""
        return 1 << (2 * self.oversampling)

    @property
    def fine_step_angst(self) -> float:
        """Spacing of the fine grid."""
        return float(self.step_angst / 2**self.oversampling)

    @property
    def coarse_shifts_angst(self) -> Float64Array:
        """Perturbed coarse translations, float64 (n_shift, 2) as (x, y)."""
        return self.coarse_angst + self.perturbation * self.step_angst

    @property
    def fine_shifts_angst(self) -> Float64Array:
        """Perturbed fine translations, float64 (n_shift * 4**oversampling, 2) as (x, y).

        Child j of translation t is at `t * 4**oversampling + j`; y is the fastest.
        """
        n_side = 2**self.oversampling
        offset = self.step_angst * ((np.arange(n_side) + 0.5) / n_side - 0.5)
        x, y = np.meshgrid(offset, offset, indexing="ij")
        child = np.stack([x.ravel(), y.ravel()], axis=1)
        fine: Float64Array = (self.coarse_shifts_angst[:, None, :] + child).reshape(-1, 2)
        return fine


def make_translation_grid(
    range_angst: float, step_angst: float, *, oversampling: int = 1, perturbation: float = 0.0
) -> TranslationGrid:
    """Build the translations within a circle.

    Parameters
    ----------
    range_angst
        Radius of the searched circle in Angstrom.
    step_angst
        Coarse spacing in Angstrom.
    oversampling
        How many times the step is halved in the fine grid.
    perturbation
        Shift of the grid as a fraction of the coarse step.

    Returns
    -------
    TranslationGrid
        x is the slowest, y the fastest, both ascending.

    Raises
    ------
    InputError
        If the step is not positive, the range negative or the oversampling out of range.

    Notes
    -----
    Source: RELION healpix_sampling.cpp, setTranslations and getTranslationsInPixel.
    """
    if not step_angst > 0:
        raise InputError(f"offset step {step_angst:g} Angstrom must be positive")
    if not range_angst >= 0:
        raise InputError(f"offset range {range_angst:g} Angstrom must not be negative")
    if not 0 <= oversampling <= 8:
        raise InputError(f"oversampling {oversampling} is out of range; use 0 to 8 (1 is usual)")
    n = math.ceil(range_angst / step_angst)
    steps = np.arange(-n, n + 1) * float(step_angst)
    x, y = np.meshgrid(steps, steps, indexing="ij")
    inside = x**2 + y**2 < range_angst**2 + _RIM_ANGST2
    return TranslationGrid(
        range_angst=float(range_angst),
        step_angst=float(step_angst),
        oversampling=oversampling,
        perturbation=float(perturbation),
        coarse_angst=np.stack([x[inside], y[inside]], axis=1),
    )
