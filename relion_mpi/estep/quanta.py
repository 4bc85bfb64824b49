"""Rounding steps that make sums independent of their order."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.backend.protocol import Quanta
from relion_mpi.fourier.shells import pixels_per_shell
from relion_mpi.model.statistics import Statistics

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.estep.plan import HalfPlan, Plan

MANTISSA_BITS = 53
HEADROOM_BITS = 12
"""Sums may exceed the expected bound by this power of two and still be exact."""


def step_for(bound: float) -> float:
    """Give the finest power of two whose multiples up to `bound`, with headroom, sum exactly."""
    exponent = math.ceil(math.log2(max(bound, 1e-300)))
    return 2.0 ** (exponent + HEADROOM_BITS - MANTISSA_BITS)


def rounded(values: NDArray[np.float64], step: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round to multiples of a power of two; the division and product are exact."""
    return np.rint(values / step) * step


def volume_quanta(plan: Plan, half: HalfPlan) -> Quanta:
    """Bound what a voxel can collect: every particle once, at the least noisy frequency."""
    n = max(half.n_particles, 1)
    inverse = 1.0 / float(half.sigma2_noise[:, : plan.r_max + 1].min())
    scale = max(float(half.scale.max()), 1.0)
    return Quanta(
        data=step_for(n * scale * math.sqrt(inverse)),
        weight=step_for(n * scale**2 * inverse),
        share=step_for(n),
    )


def statistics_steps(plan: Plan, half: HalfPlan) -> Statistics:
    """Make a step for every entry of `Statistics`."""
    n = max(half.n_particles, 1)
    noise = half.sigma2_noise * pixels_per_shell(plan.box_size) * n
    signal = float(noise.sum())
    n_class, n_dir = half.pdf_direction.shape
    n_optics, n_shell = half.sigma2_noise.shape
    steps = Statistics.empty(n_optics, n_shell, half.scale.size, n_class, n_dir)
    steps.noise[...] = 2.0 ** np.ceil(np.log2(noise)) * 2.0 ** (HEADROOM_BITS - MANTISSA_BITS)
    steps.optics_weight[...] = step_for(n)
    steps.cross[...] = steps.power[...] = step_for(signal)
    steps.class_weight[...] = steps.direction_weight[...] = step_for(n)
    # Square Angstrom, norm, log evidence per particle, then counts.
    bounds = (1e4, 10.0, 1e5, 1.0, 1.0, 1e4, 1e5, 1.0)
    steps.totals[...] = [step_for(n * bound) for bound in bounds]
    return steps
