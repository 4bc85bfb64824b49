"""Templates as padded transforms, and what they weigh in a micrograph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

from relion_mpi.backend.cpu.picking_kernels import passed
from relion_mpi.backend.cpu.project import transform_reference
from relion_mpi.backend.half_plane import plane_shape
from relion_mpi.backend.picking import Rotations
from relion_mpi.core.errors import InputError
from relion_mpi.fourier.shells import padded_size, radius_grid, round_half_away

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.backend.picking import Contrast, PickingGrid

ANGLE_STEPS = 72
"""At which the power of a CTF is averaged over a circle."""
SAME_GREY = 1e-6
"""Difference from the corner's grey value that makes a pixel part of the particle."""
DISC_IN_LOG = 2.0 / np.e
"""What a scale-normalised Laplacian of Gaussian gives at the centre of a disc of its diameter."""


@dataclass(frozen=True, slots=True)
class Templates:
    """What every rank must know of the templates.

    Attributes
    ----------
    planes : complex64 (n, size, size // 2 + 1), see `relion_mpi.backend.picking.PickingBackend`
    box_size, padding : scale of the planes: a frequency f lies at f * box_size * padding
    power : float64 (n, n_radius) sums of the squared transform over circles, times the area of a
        frequency; of blobs, whose weights are always 1, no circle
    rotations : in-plane angles
    diameter_angst : float64 (n,) of the blobs, or empty
    radius_pix : of the particle
    border_pix : half a box
    """

    planes: NDArray[np.complex64]
    box_size: int
    padding: int
    power: NDArray[np.float64]
    rotations: Rotations
    diameter_angst: NDArray[np.float64]
    radius_pix: float
    border_pix: float

    def weights(self, grid: PickingGrid, contrast: Contrast) -> NDArray[np.float32]:
        """Return one over the norm of each template in a micrograph.

        Parameters
        ----------
        grid, contrast
            Filters and CTF.

        Returns
        -------
        float32 (n,)
            The norm is the mean over all in-plane angles.

        Raises
        ------
        InputError
            A template has nothing between the two filters.
        """
        n, n_radius = self.power.shape
        if n_radius == 0:
            return np.ones(n, np.float32)
        radius = np.arange(n_radius) / (self.box_size * self.padding)
        edge = 1.0 / max(grid.padded)
        filters = np.array([passed(r, grid.limit, grid.highpass, edge) for r in radius]) ** 2
        squares = self.power @ (filters * _ctf_power(radius, contrast))
        if not (squares > 0).all():
            raise InputError(
                f"template {int(np.argmin(squares)) + 1}: nothing of it is left between --highpass "
                "and --lowpass; change them, or leave the template out"
            )
        weights: NDArray[np.float32] = (1.0 / np.sqrt(squares)).astype(np.float32)
        return weights


def image_templates(
    images: NDArray[np.float32], radius_pix: float, limit: float, padding: int, n_psi: int
) -> Templates:
    """Make templates of images.

    Parameters
    ----------
    images : float32 (n, box, box), box even, in pixels of the micrographs
    radius_pix
        Of the circular mask.
    limit
        Highest frequency that will be compared, cycles per pixel.
    padding
        Of the transforms.
    n_psi
        Number of in-plane angles.

    Returns
    -------
    Templates
        Within the mask each has mean 0 and standard deviation 1: their grey scale does not matter.

    Raises
    ------
    InputError
        A template is constant within the mask.

    Notes
    -----
    Source: Scheres 2015, J. Struct. Biol. 189:114; there the templates' grey scale counts.
    """
    box = images.shape[1]
    inside = radius_grid(box, 2) < radius_pix
    r_max = min(int(np.ceil(limit * box)) + 1, box // 2)
    size = padded_size(r_max, padding)
    planes = np.empty((len(images), *plane_shape(size)), np.complex64)
    power = np.empty((len(images), size // 2 + 1))
    for k, image in enumerate(images):
        grey = image[inside].astype(np.float64)
        if not grey.std() > 0:
            raise InputError(
                f"template {k + 1}: found one grey value within the mask of radius {radius_pix:g} "
                "pixels, expected a particle; leave it out (empty classes have no average)"
            )
        masked = np.where(inside, (image - grey.mean()) / grey.std(), 0.0)
        power[k] = _circle_power(masked, box * padding, power.shape[1])
        flat = np.empty(2 * planes[k].size, np.float32)
        transform_reference(masked.astype(np.float32), r_max, padding, flat)
        planes[k] = flat.view(np.complex64).reshape(planes[k].shape) * np.float32(box**2)
    return Templates(
        planes, box, padding, power, Rotations(n_psi), np.empty(0), radius_pix, box / 2
    )  # fmt: skip


def blob_templates(
    diameters_angst: NDArray[np.float64],
    pixel_size_angst: float,
    limit: float,
    length_pix: int,
    largest_angst: float,
) -> Templates:
    """Make Laplacians of Gaussians whose score is the contrast of a disc of their diameter.

    Parameters
    ----------
    diameters_angst : float64 (n,)
    pixel_size_angst
        Of the micrographs.
    limit
        Highest frequency that will be compared, cycles per pixel.
    length_pix
        Extent that makes the transforms fine enough, such as the longest side of a micrograph.
    largest_angst
        Largest diameter of a particle.

    Returns
    -------
    Templates
    """
    reach = int(np.ceil(limit * length_pix)) + 1
    size = padded_size(reach, 1)
    y, x = np.mgrid[-(size // 2) : size // 2 + 1, : size // 2 + 1]
    f2 = (x**2 + y**2) / float(length_pix) ** 2
    sigma = diameters_angst / (2.0 * np.sqrt(2.0) * pixel_size_angst)
    u = 2.0 * np.pi**2 * sigma[:, None, None] ** 2 * f2
    planes = (2.0 / DISC_IN_LOG * u * np.exp(-u)).astype(np.complex64)
    radius = largest_angst / (2.0 * pixel_size_angst)
    return Templates(
        planes, length_pix, 1, np.empty((len(sigma), 0)), Rotations(1), diameters_angst, radius,
        radius,
    )  # fmt: skip


def automatic_diameter_pix(images: NDArray[np.float32]) -> float:
    """Measure how wide the part is that differs from the corner, on the central rows.

    Parameters
    ----------
    images : float32 (n, box, box)

    Returns
    -------
    float
        Mean over the images, pixels; the box where an image has no constant surroundings.

    Notes
    -----
    Source: RELION's default of --particle_diameter: class averages are masked.
    """
    widths = []
    for image in images:
        odd = np.flatnonzero(np.abs(image[image.shape[0] // 2] - image[0, 0]) > SAME_GREY)
        widths.append(int(odd[-1] - odd[0]) + 1 if odd.size else image.shape[0])
    return float(np.mean(widths))


def _circle_power(image: NDArray[np.float64], side: int, n_radius: int) -> NDArray[np.float64]:
    """Sum the squared transform over circles, as an integral over cycles per pixel; (n_radius,).

    Not of the planes: these are made so that what is interpolated between their pixels is right.
    """
    transform = fft.rfft2(image, s=(side, side))
    y, x = fft.fftfreq(side, 1.0 / side)[:, None], fft.rfftfreq(side, 1.0 / side)[None, :]
    circle = np.minimum(round_half_away(np.hypot(y, x)), n_radius)
    squares = np.abs(transform) ** 2 * np.where((x > 0) & (x < side / 2), 2.0, 1.0) / side**2
    sums = np.bincount(circle.ravel(), squares.ravel(), n_radius + 1)[:n_radius]
    return sums.astype(np.float64)


def _ctf_power(radius: NDArray[np.float64], contrast: Contrast) -> NDArray[np.float64]:
    """Average the squared CTF over circles of radii in cycles per pixel."""
    if contrast.ctf is None:
        return np.ones(radius.size)
    angle = np.arange(ANGLE_STEPS) * (np.pi / ANGLE_STEPS)
    u = radius[:, None] / contrast.pixel_size_angst
    x, y = u * np.cos(angle), u * np.sin(angle)
    c, u2 = contrast.ctf, u * u
    gamma = c[0] * x * x + c[1] * x * y + c[2] * y * y + c[3] * u2 * u2 + c[4]
    value = -np.sin(gamma)
    if contrast.intact_until_first_peak:
        value[np.abs(gamma) < np.pi / 2] = 1.0
    value *= np.exp(c[6] * u2) * c[5]
    mean: NDArray[np.float64] = np.square(value).mean(axis=1)
    return mean
