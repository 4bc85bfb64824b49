"""Clouds of Gaussian scatterers and their density on a grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

from relion_mpi.fourier.shells import half_transform_radius

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.core.progress import Progress

OVERSAMPLING = 2


@dataclass(frozen=True, slots=True)
class Scatterers:
    """Points of a few kinds, each kind a sum of Gaussians.

    Attributes
    ----------
    position_angst : float64 (n, 3) (x, y, z), Angstrom
    weight : float64 (n,) occupancies
    kind : int64 (n,) row of the tables below
    amplitude, width_angst2 : float64 (n_kind, n_gauss)
        The form factor is the sum of `amplitude * exp(-width / 4 * s^2)`, s in 1/Angstrom.
    """

    position_angst: NDArray[np.float64]
    weight: NDArray[np.float64]
    kind: NDArray[np.int64]
    amplitude: NDArray[np.float64]
    width_angst2: NDArray[np.float64]

    @property
    def radius_angst(self) -> float:
        """Largest distance from the origin, Angstrom."""
        return float(np.linalg.norm(self.position_angst, axis=1).max())


def centred(scatterers: Scatterers) -> Scatterers:
    """Move the centre of mass to the origin.

    Parameters
    ----------
    scatterers
        Cloud at any place.

    Returns
    -------
    Scatterers
        The same cloud, shifted.
    """
    mass = scatterers.weight * scatterers.amplitude.sum(axis=1)[scatterers.kind]
    centre = mass @ scatterers.position_angst / mass.sum()
    return replace(scatterers, position_angst=scatterers.position_angst - centre)


def replicated(scatterers: Scatterers, operators: NDArray[np.float64]) -> Scatterers:
    """Copy a cloud by every operator, the total weight unchanged.

    Parameters
    ----------
    scatterers
        Cloud around the origin.
    operators : float64 (n_ops, 3, 3)

    Returns
    -------
    Scatterers
        n_ops times as many points, each weighing 1 / n_ops of what it did.
    """
    n_ops = len(operators)
    position = np.einsum("kij,nj->kni", operators, scatterers.position_angst).reshape(-1, 3)
    weight = np.tile(scatterers.weight, n_ops) / n_ops
    kind = np.tile(scatterers.kind, n_ops)
    return replace(scatterers, position_angst=position, weight=weight, kind=kind)


def density(
    scatterers: Scatterers,
    box_size: int,
    pixel_size_angst: float,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Evaluate a cloud on a grid, band-limited to the grid's Nyquist sphere.

    Parameters
    ----------
    scatterers
        Cloud around the origin; what lies outside of the box wraps around.
    box_size
        Side of the grid, even.
    pixel_size_angst
        Angstrom.
    progress
        Counts the kinds that are done.

    Returns
    -------
    float32 (box_size,) * 3
        The origin is at index box_size // 2; the sum over voxels is the sum of the form factors
        at frequency 0.

    Notes
    -----
    Points are spread by cubic B-splines on a grid twice as fine, whose transform (sinc^4) is
    divided out; what aliases back is below 2 % at the last shell.
    """
    fine = OVERSAMPLING * box_size
    half = box_size // 2
    index = np.arange(-half, half) % fine
    positions = scatterers.position_angst[:, ::-1] * (OVERSAMPLING / pixel_size_angst)
    s2 = (half_transform_radius(box_size, 3) / (box_size * pixel_size_angst)) ** 2
    s2 = fft.fftshift(s2, axes=(0, 1))
    total = np.zeros(s2.shape, np.complex64)
    for kind in np.unique(scatterers.kind):
        chosen = scatterers.kind == kind
        grid = np.zeros((fine,) * 3, np.float32)
        spread(np.ascontiguousarray(positions[chosen]), scatterers.weight[chosen], grid)
        form = np.zeros_like(s2)
        for a, b in zip(scatterers.amplitude[kind], scatterers.width_angst2[kind], strict=True):
            form += a * np.exp(-0.25 * b * s2)
        total += _low_frequencies(grid, index) * form
        if progress is not None:
            progress.update()
    roll_off = np.sinc(np.arange(-half, half) / fine) ** 4
    total /= roll_off[:, None, None] * roll_off[None, :, None]
    total /= np.sinc(np.arange(half + 1) / fine) ** 4
    total[s2 >= (half / (box_size * pixel_size_angst)) ** 2] = 0
    total = fft.ifftshift(total, axes=(0, 1))
    volume = fft.fftshift(fft.irfftn(total, s=(box_size,) * 3, workers=-1))
    return np.asarray(volume, np.float32)


def _low_frequencies(
    grid: NDArray[np.float32], index: NDArray[np.int64]
) -> NDArray[np.complex64]:
    """Transform a grid, cropped after each axis, as only low frequencies are asked for."""
    transform = fft.rfft(grid, axis=2, workers=-1)[..., : index.size // 2 + 1]
    for axis in (1, 0):
        transform = np.take(fft.fft(transform, axis=axis, workers=-1), index, axis)
    low: NDArray[np.complex64] = transform
    return low


def spread(
    position: NDArray[np.float64], weight: NDArray[np.float64], grid: NDArray[np.float32]
) -> None:
    """Add points to a periodic grid with a cubic B-spline.

    Parameters
    ----------
    position : float64 (n, 3)
        Grid coordinates (z, y, x), any sign.
    weight : float64 (n,)
    grid : float32 (m, m, m)
        Added to; the origin is at index 0.
    """
    m = grid.shape[0]
    floor = np.floor(position)
    t = position - floor
    spline = np.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
    ) / 6.0  # fmt: skip
    start = floor.astype(np.int64) - 1
    flat = grid.reshape(-1)
    for a, b, c in np.ndindex(4, 4, 4):
        z, y, x = ((start + np.array([a, b, c])) % m).T
        share = weight * spline[a, :, 0] * spline[b, :, 1] * spline[c, :, 2]
        np.add.at(flat, (z * m + y) * m + x, share.astype(np.float32))
