"""First estimate of the noise: power of the images less power of their average."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

from relion_mpi.estep.geometry import model_shells
from relion_mpi.fourier.masks import soft_sphere
from relion_mpi.fourier.shells import half_transform_radius, round_half_away
from relion_mpi.model.compat import OWN, Compat

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.dataset.optics_groups import OpticsGroups
    from relion_mpi.estep.plan import ImageOptions

MAX_PARTICLES = 1000
"""Particles per optics group and half-set that are looked at (as RELION 5)."""


@dataclass(frozen=True, slots=True)
class PowerSums:
    """Sums over some images of one optics group.

    Attributes
    ----------
    power : float64 (n_shell,) sums of each image's mean |transform|^2 per model shell
    average : float64 (box, box) sum of the images
    n_img : how many
    background : float64 (2,) sums of mean and standard deviation outside the particle
    """

    power: NDArray[np.float64]
    average: NDArray[np.float64]
    n_img: int
    background: NDArray[np.float64]

    def __add__(self, other: PowerSums) -> PowerSums:
        """Add sums of other images of the same group."""
        return PowerSums(
            self.power + other.power,
            self.average + other.average,
            self.n_img + other.n_img,
            self.background + other.background,
        )


def mean_power(
    images: NDArray[np.floating], shells: NDArray[np.int64], n_shell: int
) -> NDArray[np.float64]:
    """Average |transform|^2 per shell, summed over images.

    Parameters
    ----------
    images : float (n, box, box)
    shells : int64 (box, box // 2 + 1), -1 for none
    n_shell
        Length of the result.
    """
    box = images.shape[-1]
    keep = shells >= 0
    power = (np.abs(fft.rfft2(images)) ** 2).sum(axis=0)[keep] / float(box) ** 4
    count = np.bincount(shells[keep], minlength=n_shell)
    total = np.bincount(shells[keep], power, minlength=n_shell)
    return np.divide(total, count, out=np.zeros(n_shell), where=count > 0)


def power_sums(
    images: NDArray[np.float32],
    optics: OpticsGroups,
    group: int,
    box_angst: float,
    n_shell: int,
    options: ImageOptions,
) -> PowerSums:
    """Sum the power of raw images, masked if particles will be masked with zeros.

    Parameters
    ----------
    images : float32 (n, box, box)
    optics, group
        Their optics group.
    box_angst, n_shell
        Of the model.
    options
        Mask and its fill.

    Source
    ------
    RELION calculateSumOfPowerSpectraAndAverageImage.
    """
    box, pixel = images.shape[-1], float(optics.pixel_size_angst[group])
    radius_pix = options.particle_diameter_angst / (2 * pixel)
    inside = soft_sphere(box, radius_pix, options.mask_edge_pix, 2)
    values = images.astype(np.float64)
    outside = soft_sphere(box, radius_pix, 1e-3, 2) == 0
    background = np.zeros(2)
    if outside.any():
        background[:] = values[:, outside].mean(axis=1).sum(), values[:, outside].std(axis=1).sum()
    if options.zero_mask:
        weight = 1 - inside
        mean = np.tensordot(values, weight, 2) / max(weight.sum(), 1e-9)
        values = inside * values + weight * mean[:, None, None]
    shells = _shells(box, pixel, box_angst, n_shell, options.compat)
    return PowerSums(
        mean_power(values, shells, n_shell), values.sum(axis=0), images.shape[0], background
    )


def _shells(
    box: int, pixel: float, box_angst: float, n_shell: int, compat: Compat
) -> NDArray[np.int64]:
    """Give the model shell of each pixel, -1 for those that do not count."""
    if not compat.initial_noise:
        return model_shells(box, pixel, box_angst, n_shell)
    shells = round_half_away(half_transform_radius(box, 2) * (box_angst / (box * pixel)))
    shells[shells >= n_shell] = -1
    return shells


def halved_averages(
    totals: dict[tuple[int, int], PowerSums],
) -> dict[int, NDArray[np.float64]]:
    """Give each half-set the average image that RELION's half-sets share.

    Parameters
    ----------
    totals
        Sums of each half-set and optics group; boxes are of one size.

    Returns
    -------
    dict of float64 (box, box)
        A half-set's share of the sum over everything, divided by its particles.

    Source
    ------
    RELION calculateSumOfPowerSpectraAndAverageImage.
    """
    share = 1.0 / len({h for h, _ in totals})
    everything = share * np.sum([one.average for one in totals.values()], axis=0)
    counts = {h: sum(one.n_img for key, one in totals.items() if key[0] == h) for h, _ in totals}
    return {h: everything / n for h, n in counts.items()}


def initial_sigma2_noise(
    sums: PowerSums,
    own_pixel: float,
    box_angst: float,
    *,
    average: NDArray[np.float64] | None = None,
    compat: Compat = OWN,
) -> NDArray[np.float64]:
    """Turn sums into a noise spectrum.

    Parameters
    ----------
    sums
        Of one optics group.
    own_pixel
        Its pixel size, Angstrom.
    box_angst
        Side of the model's box.
    average : float64 (box, box)
        Mean image in place of that of the sums.
    compat
        Which pixels count.

    Returns
    -------
    float64 (n_shell,)
        Variance per component; positive.

    Source
    ------
    RELION setSigmaNoiseEstimatesAndSetAverageImage.
    """
    n_shell = sums.power.size
    if average is None:
        average = sums.average / sums.n_img
    shells = _shells(average.shape[0], own_pixel, box_angst, n_shell, compat)
    signal = mean_power(average[None], shells, n_shell)
    sigma2 = 0.5 * (sums.power / sums.n_img - signal)
    good = sigma2 > 0
    if not good.any():
        return np.full(n_shell, 1e-12)
    index = np.maximum.accumulate(np.where(good, np.arange(n_shell), -1))
    index[index < 0] = int(np.argmax(good))
    filled: NDArray[np.float64] = sigma2[index]
    return filled
