"""The one Fourier shell correlation of two maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

from relion_mpi.fourier.shells import half_transform_radius, round_half_away

if TYPE_CHECKING:
    from numpy.typing import NDArray


def fourier_shell_correlation(
    first: NDArray[np.floating], second: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Correlate two maps (or images) shell by shell.

    Parameters
    ----------
    first, second : float (n, n, n) or (n, n)

    Returns
    -------
    float64 (n // 2 + 1,)
        1 at shell 0; agrees with RELION's getFSC (both halves of the x = 0 plane counted).
    """
    if first.shape != second.shape:
        msg = f"maps of different shape: {first.shape} and {second.shape}"
        raise ValueError(msg)
    box_size = first.shape[0]
    transforms = [fft.rfftn(np.asarray(m, dtype=np.float64), workers=-1) for m in (first, second)]
    shells = round_half_away(half_transform_radius(box_size, first.ndim)).ravel()
    return shell_correlation(transforms[0].ravel(), transforms[1].ravel(), shells, box_size // 2)


def shell_correlation(
    first: NDArray[np.complexfloating],
    second: NDArray[np.complexfloating],
    shells: NDArray[np.integer],
    last_shell: int,
) -> NDArray[np.float64]:
    """Correlate two lists of Fourier coefficients by shell.

    Parameters
    ----------
    first, second : complex (n,)
    shells : int (n,)
        Shell of each coefficient; those outside 0..last_shell are ignored.
    last_shell
        Last shell returned.

    Returns
    -------
    float64 (last_shell + 1,)
        0 where a shell is empty or has no power; 1 at shell 0.
    """
    return correlation_of(shell_powers(first, second, shells, last_shell))


def shell_powers(
    first: NDArray[np.complexfloating],
    second: NDArray[np.complexfloating],
    shells: NDArray[np.integer],
    last_shell: int,
) -> NDArray[np.float64]:
    """Sum products of two lists of Fourier coefficients by shell.

    Parameters
    ----------
    first, second, shells, last_shell
        As for `shell_correlation`.

    Returns
    -------
    float64 (3, last_shell + 1)
        Sums of Re(a conj(b)), of |a|^2 and of |b|^2.
    """
    keep = (shells >= 0) & (shells <= last_shell)
    shells = shells[keep]

    def total(values: NDArray[np.floating]) -> NDArray[np.float64]:
        sums: NDArray[np.float64] = np.bincount(shells, values, last_shell + 1).astype(np.float64)
        return sums

    a, b = first[keep], second[keep]
    cross = total((a * b.conj()).real)
    return np.stack([cross, total(np.abs(a) ** 2), total(np.abs(b) ** 2)])


def correlation_of(powers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn products summed by shell into a correlation.

    Parameters
    ----------
    powers : float64 (3, n_shell)
        From `shell_powers`.

    Returns
    -------
    float64 (n_shell,)
        0 where a shell is empty or has no power; 1 at shell 0.
    """
    cross, power = powers[0], np.sqrt(powers[1] * powers[2])
    fsc: NDArray[np.float64] = np.divide(cross, power, out=np.zeros_like(cross), where=power > 0)
    fsc[0] = 1.0
    return fsc


def resolution_at(
    fsc: NDArray[np.floating], threshold: float, box_size: int, pixel_size_angst: float
) -> float:
    """Resolution at which a curve first falls below a threshold, linearly interpolated.

    Returns
    -------
    float
        Angstrom; Nyquist's if the curve never falls below.
    """
    below = np.flatnonzero(fsc[1:] < threshold)
    if below.size == 0:
        return 2.0 * pixel_size_angst
    shell = int(below[0]) + 1
    before, after = float(fsc[shell - 1]), float(fsc[shell])
    position = shell - 1 + (before - threshold) / (before - after)
    return box_size * pixel_size_angst / max(position, 1e-6)
