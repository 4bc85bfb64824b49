"""The M-step of 2D classes: averages from Fourier sums, one small plane after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import fft

from relion_mpi.backend.half_plane import plane_shape
from relion_mpi.core.errors import NumericalError
from relion_mpi.fourier.masks import mask_outside_to_mean, sinc_squared
from relion_mpi.fourier.shells import padded_size, round_half_away
from relion_mpi.mstep.reconstruct import (
    GRIDDING_ITERATIONS,
    MAP_EDGE_PIX,
    MIN_SHELL_REGULARISED,
    WEIGHT_FLOOR,
    blob_table,
)
from relion_mpi.mstep.spectra import ShellSpectra

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.mstep.maximise import MaximisationOptions


@dataclass(frozen=True, slots=True)
class MaximisedClasses:
    """Averages and spectra of an iteration, one a class.

    Attributes
    ----------
    maps : regularised averages, each float64 (box, box)
    spectra : of each class
    """

    maps: tuple[NDArray[np.float64], ...]
    spectra: tuple[ShellSpectra, ...]


@dataclass(frozen=True, slots=True)
class _Grid:
    """A padded half plane, y centred, x from 0.

    Attributes
    ----------
    box_size, r_max, padding : geometry
    radius2 : int64 (size, size // 2 + 1) squared padded radii
    shell : int64, same shape, nearest shell of the image
    """

    box_size: int
    r_max: int
    padding: int
    radius2: NDArray[np.int64]
    shell: NDArray[np.int64]

    @classmethod
    def of(cls, box_size: int, r_max: int, padding: int) -> _Grid:
        """Compute radii and shells."""
        size, half = plane_shape(padded_size(r_max, padding))
        radius2 = (np.arange(size) - size // 2)[:, None] ** 2 + np.arange(half) ** 2
        shell = round_half_away(np.sqrt(radius2) / padding)
        return cls(box_size, r_max, padding, radius2, shell)

    @property
    def reach(self) -> int:
        """Largest padded radius."""
        return self.padding * self.r_max

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Entries that have a prior and count in spectra: the circle itself does not."""
        inside: NDArray[np.bool_] = self.radius2 < self.reach**2
        return inside

    @property
    def correction(self) -> float:
        """Entries of the padded plane per pixel of the image's own transform."""
        return float(self.padding**2)


def prior_of_planes(
    maps: NDArray[np.floating[Any]], r_max: int, padding: int
) -> NDArray[np.float64]:
    """Take the power of the class averages as prior variance of the signal.

    Parameters
    ----------
    maps : float (n_class, box, box) references of the E-step
    r_max
        Last shell of the E-step.
    padding
        Oversampling.

    Returns
    -------
    float64 (n_class, box // 2 + 1)
        Without RELION's T; 0 beyond r_max. Half the mean squared modulus of the padded transform.

    Source
    ------
    RELION Projector::computeFourierTransformMap.
    """
    box, n_shell = maps.shape[-1], maps.shape[-1] // 2 + 1
    big, reach = padding * box, padding * r_max
    y = fft.fftfreq(big, 1 / big)
    radius2 = y[:, None] ** 2 + np.arange(reach + 1) ** 2
    within = radius2 <= reach**2
    shell = round_half_away(np.sqrt(radius2[within]) / padding)
    count = np.bincount(shell, minlength=n_shell)
    tau2 = np.empty((maps.shape[0], n_shell))
    for one, out in zip(maps, tau2, strict=True):
        half = fft.rfft2(one / sinc_squared(box, padding, 2), s=(big, big))[:, : reach + 1]
        power = np.bincount(shell, np.abs(half[within]) ** 2, n_shell)
        out[...] = 0.5 / float(box) ** 4 * power / np.maximum(count, 1)
    return tau2


def maximise_planes(
    rows: NDArray[np.floating[Any]],
    tau2: NDArray[np.float64],
    r_max: int,
    padding: int,
    options: MaximisationOptions,
) -> MaximisedClasses:
    """Average every class with the power of its previous average as prior.

    Parameters
    ----------
    rows : float (n_class, n_rows, 3) of (real, imaginary, weight)
        Reduced sums, laid out as `relion_mpi.backend.half_plane` tells.
    tau2 : float64 (n_class, n_shell)
        From `prior_of_planes`, without T.
    r_max, padding
        Geometry of the sums.
    options
        Switches; those of half-sets do not matter.

    Returns
    -------
    MaximisedClasses
        Maps are images (box, box). An empty class has an image of zeros, and no spectra but its
        prior.

    Raises
    ------
    NumericalError
        If the sums are not finite.

    Source
    ------
    RELION updateSSNRarrays and BackProjector::reconstruct with 2D references.
    """
    _check_finite(rows)
    box = 2 * (tau2.shape[1] - 1)
    grid, images, spectra = _Grid.of(box, r_max, padding), [], []
    for mine, prior in zip(rows, tau2, strict=True):
        data, weight = _friedel(mine, grid)
        spectra.append(_spectra(weight, prior, options.tau2_fudge, grid))
        weight = _regularised(weight, options.tau2_fudge * prior, grid)
        images.append(_average(data, weight, grid, skip_gridding=options.skip_gridding))
    return MaximisedClasses(tuple(images), tuple(spectra))


def average_planes(
    rows: NDArray[np.floating[Any]],
    box_size: int,
    r_max: int,
    padding: int,
    *,
    skip_gridding: bool = True,
) -> NDArray[np.float64]:
    """Average every class without a prior, as the first averages are made.

    Parameters
    ----------
    rows, r_max, padding
        As for `maximise_planes`.
    box_size
        Side of the averages in pixels.
    skip_gridding
        Divide by the weights once instead of iterating.

    Returns
    -------
    float64 (n_class, box_size, box_size)
        Zeros for an empty class.

    Raises
    ------
    NumericalError
        If the sums are not finite.
    """
    _check_finite(rows)
    grid = _Grid.of(box_size, r_max, padding)
    sums = (_friedel(mine, grid) for mine in rows)
    return np.stack([_average(*one, grid, skip_gridding=skip_gridding) for one in sums])


def _check_finite(rows: NDArray[np.floating[Any]]) -> None:
    if not np.isfinite(rows).all():
        msg = "the Fourier sums contain NaN or infinite values after the E-step"
        raise NumericalError(msg)


def _friedel(
    rows: NDArray[np.floating[Any]], grid: _Grid
) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """Lay out data and weights, with Friedel mates added on the x = 0 column but for the origin."""
    shaped = rows.astype(np.float64).reshape(*grid.shell.shape, 3)
    data, weight = shaped[..., 0] + 1j * shaped[..., 1], shaped[..., 2].copy()
    origin = grid.shell.shape[0] // 2
    for array, mate in ((data, data[::-1, 0].conj()), (weight, weight[::-1, 0])):
        total = array[:, 0] + mate
        total[origin] = array[origin, 0]
        array[:, 0] = total
    return data, weight


def _spectra(
    weight: NDArray[np.float64], tau2: NDArray[np.float64], tau2_fudge: float, grid: _Grid
) -> ShellSpectra:
    """Find the noise of the average, and how much data outweigh the prior."""
    if not weight.any():
        none = np.zeros_like(tau2)
        return ShellSpectra(tau2, none, none, none)
    n_shell, prior = tau2.size, tau2_fudge * tau2
    inside = grid.inside
    shell, mine = np.minimum(grid.shell[inside], n_shell - 1), weight[inside] * grid.correction
    count = np.maximum(np.bincount(shell, minlength=n_shell), 1)
    mean = np.bincount(shell, mine, n_shell) / count
    sigma2 = np.divide(1.0, mean, out=np.zeros(n_shell), where=mean > 1e-10)
    ratio = np.divide(prior, sigma2, out=np.zeros(n_shell), where=sigma2 > 0)
    coverage = np.bincount(shell, mine * prior[shell] >= 1, n_shell) / count
    return ShellSpectra(tau2, sigma2, ratio, coverage)


def _regularised(
    weight: NDArray[np.float64], prior: NDArray[np.float64], grid: _Grid
) -> NDArray[np.float64]:
    """Add the inverse prior to the weights; where the prior is 0, what all but removes data."""
    value = prior[np.minimum(grid.shell, prior.size - 1)] * grid.correction
    out = weight.copy()
    chosen = grid.inside & (grid.shell >= MIN_SHELL_REGULARISED)
    known = chosen & (value > 1e-20)
    out[known] += 1.0 / value[known]
    unknown = chosen & (value <= 1e-20) & (weight > 1e-20)
    out[unknown] += 1000.0 / weight[unknown]
    return out


def _average(
    data: NDArray[np.complex128],
    weight: NDArray[np.float64],
    grid: _Grid,
    *,
    skip_gridding: bool,
) -> NDArray[np.float64]:
    """Turn data and weights, a prior's included, into the image."""
    if not data.any():
        return np.zeros((grid.box_size,) * 2)
    divided = _divided if skip_gridding else _gridded
    return _image(divided(data, weight, grid), grid)


def _divided(
    data: NDArray[np.complex128], weight: NDArray[np.float64], grid: _Grid
) -> NDArray[np.complex128]:
    """Divide by weights, kept above a part of their shell's mean."""
    shell = np.minimum((np.sqrt(grid.radius2) / grid.padding).astype(np.int64), grid.r_max - 1)
    inside = grid.inside
    total = np.bincount(shell[inside], weight[inside], grid.r_max)
    count = np.bincount(shell[inside], minlength=grid.r_max)
    floor = total / np.maximum(count, 1) / WEIGHT_FLOOR
    divisor = np.maximum(weight, floor[shell])
    kept = (grid.radius2 <= grid.reach**2) & (divisor > 0)
    return np.divide(data, divisor, out=np.zeros_like(data), where=kept)


def _gridded(
    data: NDArray[np.complex128], weight: NDArray[np.float64], grid: _Grid
) -> NDArray[np.complex128]:
    """Multiply by weights whose convolution with a blob is flat (Pipe and Menon's iteration)."""
    within, inside = grid.radius2 <= grid.reach**2, grid.inside
    size = data.shape[0]
    blob = blob_table()
    wrapped = fft.fftfreq(size, 1 / size) ** 2
    radius = np.sqrt(wrapped[:, None] + wrapped) / (grid.box_size * grid.padding)
    entry = np.minimum((radius * 2 * blob.size).astype(np.int64), blob.size)
    kernel = np.append(blob, 0.0)[entry]
    target = np.where(within, weight, 0.0)
    factor = inside.astype(np.float64)
    for _ in range(GRIDDING_ITERATIONS):
        real = fft.irfft2(fft.ifftshift(factor * target, axes=0), s=kernel.shape) * kernel
        convolved = np.abs(fft.fftshift(fft.rfft2(real), axes=0))
        factor = np.where(inside, factor / np.maximum(convolved, 1e-6), 0.0)
    return data * factor


def _image(transform: NDArray[np.complex128], grid: _Grid) -> NDArray[np.float64]:
    """Invert a transform, crop the box, mask its corners, undo the interpolation."""
    box = grid.box_size
    big = grid.padding * box
    # An even grid has one Nyquist line, the positive one.
    low, high = min(grid.reach, big // 2 - 1), min(grid.reach, big // 2)
    origin = transform.shape[0] // 2
    middle = (np.arange(box) - box // 2) % big
    spread = np.zeros((big, high + 1), np.complex128)
    kept = slice(origin - low, origin + high + 1)
    spread[np.arange(-low, high + 1) % big] = transform[kept, : high + 1]
    lines = fft.ifft(spread, axis=0)[middle]
    image = fft.irfft(lines, n=big, axis=1)[:, middle] * float(box) ** 2
    return mask_outside_to_mean(image, box / 2, MAP_EDGE_PIX) / sinc_squared(box, grid.padding, 2)
