"""Gold-standard FSC, prior and signal-to-noise spectra from Fourier sums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.fourier.correlation import shell_correlation
from relion_mpi.fourier.shells import round_half_away

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.mstep.grid import FourierSums

MIN_FSC, MAX_FSC = 0.001, 0.999
EMPTY_SHELL_SSNR = 999.0


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
    averages = [_downsampled(sums) for sums in (first, second)]
    side = 2 * (first.r_max + 1) + 1
    axis = (np.arange(side) - side // 2) ** 2
    radius = np.sqrt(axis[:, None, None] + axis[:, None] + np.arange(side // 2 + 1) ** 2)
    shells = round_half_away(radius)
    shells[radius > first.r_max] = -1
    fsc = np.zeros(first.box_size // 2 + 1)
    fsc[: first.r_max + 1] = shell_correlation(
        averages[0].ravel(), averages[1].ravel(), shells.ravel(), first.r_max
    )
    return fsc


def _downsampled(sums: FourierSums) -> NDArray[np.complex128]:
    """Divide sums of data by sums of weights in bins of the unpadded grid."""
    size = sums.data.shape[0]
    side = 2 * (sums.r_max + 1) + 1
    centred = round_half_away((np.arange(size) - size // 2) / sums.padding) + side // 2
    x = round_half_away(np.arange(size // 2 + 1) / sums.padding)
    half = side // 2 + 1
    keep = sums.radius2() <= (sums.reach + sums.padding) ** 2
    bins = (centred[:, None, None] * side + centred[None, :, None]) * half + x[None, None, :]
    chosen = bins[keep]
    n = side * side * half
    weight = np.bincount(chosen, sums.weight[keep], n)
    data = sums.data[keep]
    total = np.bincount(chosen, data.real, n) + 1j * np.bincount(chosen, data.imag, n)
    mean = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
    return mean.reshape(side, side, half)


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
    shells, _, mean = _shell_means(sums, sums.weight * sums.oversampling_correction)
    return np.divide(1.0, mean, out=np.zeros(shells), where=mean > 1e-10)


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
    return ShellSpectra(tau2, sigma2, ssnr, _coverage(sums, tau2))


def _coverage(sums: FourierSums, prior: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of voxels per shell whose weight exceeds the inverse prior."""
    shell = np.minimum(sums.rounded_shells(), prior.size - 1)
    outweighs = sums.weight * sums.oversampling_correction * prior[shell] >= 1.0
    return _shell_means(sums, outweighs.astype(np.float64))[2]


def _shell_means(
    sums: FourierSums, values: NDArray[np.float64]
) -> tuple[int, NDArray[np.int64], NDArray[np.float64]]:
    """Average values over the voxels of each shell: (n_shell, counts, means)."""
    n_shell = sums.box_size // 2 + 1
    keep = sums.radius2() < sums.reach**2
    shell = sums.rounded_shells()[keep]
    count = np.bincount(shell, minlength=n_shell)[:n_shell]
    total = np.bincount(shell, values[keep], minlength=n_shell)[:n_shell]
    return n_shell, count, np.divide(total, count, out=np.zeros(n_shell), where=count > 0)
