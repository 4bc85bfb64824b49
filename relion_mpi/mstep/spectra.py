"""Gold-standard FSC, prior and signal-to-noise spectra."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import fft

from relion_mpi.fourier.correlation import correlation_of
from relion_mpi.fourier.sections import mean_powers
from relion_mpi.fourier.shells import half_transform_radius, round_half_away

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.backend.volumes import FourierSums

MIN_FSC, MAX_FSC = 0.001, 0.999


@dataclass(frozen=True, slots=True)
class ShellSpectra:
    """Spectra of one class, each float64 (n_shell,).

    Attributes
    ----------
    tau2 : prior variance of the signal
    sigma2 : variance of the reconstruction's noise
    data_vs_prior : signal-to-noise ratio (rlnSsnrMap)
    coverage : share of voxels where data outweigh the prior (rlnFourierCompleteness)
    """

    tau2: NDArray[np.float64]
    sigma2: NDArray[np.float64]
    data_vs_prior: NDArray[np.float64]
    coverage: NDArray[np.float64]


def half_set_fsc(first: FourierSums, second: FourierSums) -> NDArray[np.float64]:
    """Correlate two half-sets after averaging their sums onto the unpadded grid.

    Returns
    -------
    float64 (box_size // 2 + 1,)
        1 at shell 0, 0 beyond r_max.

    Source
    ------
    RELION getDownsampledAverage and calculateDownSampledFourierShellCorrelation.
    """
    fsc = np.zeros(first.box_size // 2 + 1)
    fsc[: first.r_max + 1] = correlation_of(first.backend.shell_powers(first, second))
    return fsc


def reconstruction_noise(sums: FourierSums) -> NDArray[np.float64]:
    """Estimate the noise variance of a reconstruction per shell.

    Returns
    -------
    float64 (n_shell,)
        1 / mean weight; 0 where there is no data.

    Source
    ------
    RELION updateSSNRarrays.
    """
    return _noise_and_coverage(sums, np.zeros(sums.box_size // 2 + 1))[0]


def spectra_from_fsc(
    sums: FourierSums, fsc: NDArray[np.float64], tau2_fudge: float, *, joined: bool
) -> ShellSpectra:
    """Turn a gold-standard FSC into the prior of the next reconstruction.

    Parameters
    ----------
    sums
        Of the half-set, or of both when `joined`.
    fsc : float64 (n_shell,)
    tau2_fudge
        RELION's T.
    joined
        The reconstruction uses all data: the FSC of half-sets is converted.

    Source
    ------
    RELION updateSSNRarrays: SSNR = T FSC / (1 - FSC); tau2 = SSNR * sigma2. RELION multiplies by
    T again when it reconstructs; here T counts once.
    """
    sigma2 = reconstruction_noise(sums)
    value = np.maximum(fsc, MIN_FSC)
    if joined:
        value = np.sqrt(2 * value / (1 + value))
    value = np.minimum(value, MAX_FSC)
    ssnr = tau2_fudge * value / (1 - value)
    tau2 = ssnr * sigma2
    shell = np.arange(ssnr.size)
    ssnr = np.where(shell > sums.r_max, 0.0, ssnr)
    return ShellSpectra(tau2, sigma2, ssnr, _noise_and_coverage(sums, tau2)[1])


def reference_tau2(volume: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Measure the power of a map or image per shell, in the units of the noise of images.

    Parameters
    ----------
    volume : floating (box,) * 3 or (box,) * 2

    Returns
    -------
    float64 (box // 2 + 1,)
        Half the mean squared modulus; RELION's T is not in it.

    Source
    ------
    RELION initialiseDataVersusPrior. Priors of classes are measured otherwise, see
    `relion_mpi.mstep.classes.prior_of_references`.
    """
    box = volume.shape[0]
    transform = fft.rfftn(np.asarray(volume, np.float64), workers=-1)
    if volume.ndim == 3:
        mean = mean_powers(transform)
    else:
        n_shell = box // 2 + 1
        shells = round_half_away(half_transform_radius(box, 2))
        inside = shells < n_shell
        count = np.bincount(shells[inside], minlength=n_shell)
        mean = np.bincount(shells[inside], np.abs(transform[inside]) ** 2, n_shell) / count
    mean /= float(box) ** (2 * volume.ndim)
    tau2: NDArray[np.float64] = 0.5 * mean * float(box) ** (2 * (volume.ndim - 2))
    return tau2


def spectra_from_prior(
    sums: FourierSums, tau2: NDArray[np.float64], tau2_fudge: float
) -> ShellSpectra:
    """Find how much data outweigh a prior that was known before them.

    Parameters
    ----------
    sums
        Of the class.
    tau2 : float64 (n_shell,)
        Power of the previous reference.
    tau2_fudge
        RELION's T.

    Returns
    -------
    ShellSpectra
        Its `tau2` is the given one, without T.

    Source
    ------
    RELION updateSSNRarrays: the mean over voxels of weight * T * tau2, 0 beyond r_max.
    """
    prior = tau2_fudge * tau2
    sigma2, coverage = _noise_and_coverage(sums, prior)
    ratio = np.divide(prior, sigma2, out=np.zeros_like(sigma2), where=sigma2 > 0)
    return ShellSpectra(tau2, sigma2, ratio, coverage)


def _noise_and_coverage(
    sums: FourierSums, prior: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Inverse mean weight, and share of voxels that outweigh the inverse prior, per shell."""
    total, count, above = sums.backend.shell_sums(sums, prior)
    mean = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    sigma2 = np.divide(1.0, mean, out=np.zeros_like(mean), where=mean > 1e-10)
    return sigma2, np.divide(above, count, out=np.zeros_like(above), where=count > 0)
