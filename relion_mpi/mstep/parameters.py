"""Updates of everything that is not a map: noise, scale, priors, norm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.fourier.shells import pixels_per_shell
from relion_mpi.model.compat import OWN, Compat

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.model.state import HalfModel
    from relion_mpi.model.statistics import Statistics

SCALE_CLIP = 5.0
"""Scales are kept within this factor of their median."""
MIN_SIGMA2_OFFSET_ANGST2 = 2.0
"""Smallest variance of offsets (RELION 5's --min_sigma2_offset)."""
MIN_SIGMA2_NOISE = 1e-14


def update_parameters(
    half: HalfModel,
    sums: Statistics,
    box_size: int,
    *,
    after_cc: bool,
    correct_norm: bool,
    correct_scale: bool,
    compat: Compat = OWN,
) -> None:
    """Re-estimate a half-set's parameters from its sums, in place.

    Parameters
    ----------
    half
        Changed in place.
    sums
        Of this half-set over all ranks.
    box_size
        Of the model.
    after_cc
        The E-step used cross-correlation: noise and scale are left alone.
    correct_norm, correct_scale
        As RELION's --norm and --scale.
    compat
        What is done as RELION does it.

    Source
    ------
    RELION maximizationOtherParameters.
    """
    total = float(sums.class_weight.sum())
    offset2, norm, evidence, pmax, n_particles = sums.totals[:5]
    if correct_norm:
        # RELION divides by the kept weight (0.999 n) here and so drifts upward; n is right.
        half.avg_norm = float(norm / (total if compat.norm_over_kept_weight else n_particles))
    half.pdf_class = sums.class_weight / total
    half.pdf_direction = sums.direction_weight / sums.direction_weight.sum()
    lowest = 0.0 if compat.free_sigma_offset else MIN_SIGMA2_OFFSET_ANGST2
    half.sigma2_offset_angst2 = max(float(offset2 / (2 * total)), lowest)
    half.ave_pmax = float(pmax / n_particles)
    half.log_likelihood = float(evidence)
    if after_cc:
        return
    half.sigma2_noise = _noise(half, sums, box_size)
    half.optics_particles = sums.optics_weight.copy()
    if correct_scale:
        half.scale = _scales(half, sums, of_all=compat.median_of_all_groups)


def _noise(half: HalfModel, sums: Statistics, box_size: int) -> NDArray[np.float64]:
    """Noise variance per optics group; groups without particles keep theirs."""
    count = pixels_per_shell(box_size)
    updated = half.sigma2_noise.copy()
    for g, weight in enumerate(sums.optics_weight):
        if weight > 0:
            updated[g] = fill_small(sums.noise[g] / (2 * weight * count))
    return updated


def fill_small(sigma2: NDArray[np.float64]) -> NDArray[np.float64]:
    """Replace vanishing entries of a noise spectrum by their neighbour's value.

    Parameters
    ----------
    sigma2 : float64 (n_shell,)

    Returns
    -------
    float64 (n_shell,)
        The previous positive entry where there is one, else the next.
    """
    good = sigma2 > MIN_SIGMA2_NOISE
    if good.all() or not good.any():
        return sigma2
    index = np.where(good, np.arange(sigma2.size), -1)
    index = np.maximum.accumulate(index)
    index[index < 0] = int(np.argmax(good))
    return sigma2[index]


def _scales(half: HalfModel, sums: Statistics, *, of_all: bool) -> NDArray[np.float64]:
    """Intensity scale per group: clipped around the median, mean 1 over particles."""
    scale = np.divide(sums.cross, sums.power, out=np.ones_like(sums.cross), where=sums.power > 0)
    present = half.group_particles > 0
    if not present.any():
        return scale
    ordered = np.sort(scale if of_all else scale[present])
    median = float(ordered[ordered.size // 2])
    scale = np.clip(scale, median / SCALE_CLIP, median * SCALE_CLIP)
    mean = float((scale * half.group_particles).sum() / half.group_particles.sum())
    scale = scale / mean if mean > 0 else np.ones_like(scale)
    scale[~present] = 1.0
    return scale
