"""Passes over the half transform of a volume, one z section at a time, to spare memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.fourier.correlation import correlation_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Sections:
    """Squared radii of a half transform as `scipy.fft.rfftn` lays it out.

    Squared radii are whole numbers, so what depends on the radius alone is a table over them.

    Attributes
    ----------
    box_size : side of the volume, even
    plane : int32 (n, n // 2 + 1), squared radius in the section z = 0
    along_z : int32 (n,), squared z of each section
    """

    box_size: int
    plane: NDArray[np.int32]
    along_z: NDArray[np.int32]

    @property
    def n_squared(self) -> int:
        """Length of a table over squared radii."""
        return 3 * (self.box_size // 2) ** 2 + 1

    def squared_radius(self, section: int) -> NDArray[np.int32]:
        """Return the squared radius of every coefficient of a section, int32 (n, n // 2 + 1)."""
        squared: NDArray[np.int32] = self.plane + self.along_z[section]
        return squared

    def radius(self) -> NDArray[np.float64]:
        """Return the radius in shells that each entry of a table stands for, (n_squared,)."""
        return np.sqrt(np.arange(self.n_squared, dtype=np.float64))

    def shell(self) -> NDArray[np.intp]:
        """Return the rounded radius of each entry, n // 2 + 1 for all beyond, (n_squared,)."""
        rounded = np.floor(self.radius() + 0.5).astype(np.intp)
        return np.minimum(rounded, self.box_size // 2 + 1)


@lru_cache(maxsize=2)
def sections_of(box_size: int) -> Sections:
    """Make the squared radii of a half transform.

    Parameters
    ----------
    box_size
        Side of the volume, even.

    Returns
    -------
    Sections
    """
    full = np.fft.fftfreq(box_size, 1.0 / box_size).astype(np.int32) ** 2
    half = np.arange(box_size // 2 + 1, dtype=np.int32) ** 2
    return Sections(box_size, full[:, None] + half[None, :], full)


def transform_correlation(
    first: NDArray[np.complexfloating], second: NDArray[np.complexfloating]
) -> NDArray[np.float64]:
    """Correlate two half transforms shell by shell.

    Parameters
    ----------
    first, second : complex (n, n, n // 2 + 1)

    Returns
    -------
    float64 (n // 2 + 1,)
        As `relion_mpi.fourier.correlation.fourier_shell_correlation` of the maps.
    """
    sections = sections_of(first.shape[0])
    shell_of, n_bin = sections.shell(), first.shape[0] // 2 + 2
    powers = np.zeros((3, n_bin))
    for k, (a, b) in enumerate(zip(first, second, strict=True)):
        shells = shell_of[sections.squared_radius(k)].ravel()
        products = (
            a.real * b.real + a.imag * b.imag,
            a.real * a.real + a.imag * a.imag,
            b.real * b.real + b.imag * b.imag,
        )
        for row, product in zip(powers, products, strict=True):
            row += np.bincount(shells, product.ravel(), n_bin)
    return correlation_of(powers[:, :-1])


def mean_amplitudes(transform: NDArray[np.complexfloating]) -> NDArray[np.float64]:
    """Average the amplitudes of a half transform over shells.

    Parameters
    ----------
    transform : complex (n, n, n // 2 + 1)

    Returns
    -------
    float64 (n // 2 + 1,)
        Every stored coefficient counts once, so both halves of the x = 0 plane do.
    """
    return _mean_over_shells(transform, np.abs)


def mean_powers(transform: NDArray[np.complexfloating]) -> NDArray[np.float64]:
    """Average the squared amplitudes of a half transform over shells; as `mean_amplitudes`."""
    return _mean_over_shells(transform, lambda section: section.real**2 + section.imag**2)


def _mean_over_shells(
    transform: NDArray[np.complexfloating],
    value: Callable[[NDArray[np.complexfloating]], NDArray[np.floating]],
) -> NDArray[np.float64]:
    sections = sections_of(transform.shape[0])
    shell_of, n_bin = sections.shell(), transform.shape[0] // 2 + 2
    total, count = np.zeros(n_bin), np.zeros(n_bin, np.int64)
    for k, section in enumerate(transform):
        shells = shell_of[sections.squared_radius(k)].ravel()
        total += np.bincount(shells, value(section).ravel(), n_bin)
        count += np.bincount(shells, minlength=n_bin)
    return total[:-1] / count[:-1]


def scale_by_radius(transform: NDArray[np.complexfloating], factor: NDArray[np.floating]) -> None:
    """Multiply a half transform in place by what depends on the radius alone.

    Parameters
    ----------
    transform : complex (n, n, n // 2 + 1)
    factor : float (n_squared,)
        By squared radius, see `Sections`.
    """
    sections = sections_of(transform.shape[0])
    factor = factor.astype(transform.real.dtype)
    for k, section in enumerate(transform):
        section *= factor[sections.squared_radius(k)]
