"""Fourier pixels and optics of each optics group."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.backend.protocol import ImageGeometry, OpticsArrays
from relion_mpi.fourier.masks import half_transform_radius
from relion_mpi.fourier.shells import (
    PixelList,
    half_transform_shells,
    pixel_list,
    round_half_away,
)
from relion_mpi.optics.aberrations import (
    even_zernike_gamma_offset,
    odd_zernike_phase,
    phase_shift_of_beam_tilt,
)
from relion_mpi.optics.ctf import CtfParameters, ctf_coefficients, electron_wavelength_angst

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.dataset.optics_groups import OpticsGroups
    from relion_mpi.estep.plan import ImageOptions, ParticleBatch


def image_geometry(
    optics: OpticsGroups,
    group: int,
    box_size: int,
    pixel_size_angst: float,
    current_size: int,
    coarse_size: int,
) -> ImageGeometry:
    """List the pixels of one optics group's images for given model sizes.

    Parameters
    ----------
    optics, group
        Optics groups and the index of one.
    box_size, pixel_size_angst
        Of the model.
    current_size, coarse_size
        Pixels of the model used in the second and the first pass.

    Returns
    -------
    ImageGeometry

    Source
    ------
    RELION updateImageSizeAndResolutionPointers, applyScaleDifference, applyAnisoMag.
    """
    own_box = int(optics.box_size[group])
    own_pixel = float(optics.pixel_size_angst[group])
    # A Fourier pixel of the image is `ratio` Fourier pixels of the model.
    ratio = (box_size * pixel_size_angst) / (own_box * own_pixel)
    own_current = min(2 * math.ceil(0.5 * current_size / ratio - 1e-6), own_box)
    own_coarse = min(2 * math.ceil(0.5 * coarse_size / ratio - 1e-6), own_current)
    pixels = pixel_list(own_box, own_current / 2)
    n_coarse = pixels.count_within(own_coarse / 2)
    pixels = _row_by_row(pixels, n_coarse)
    n_shell = box_size // 2 + 1
    magnification = optics.magnification[group]
    # Both the map and the CTF are met at the true frequency.
    position = magnification @ np.stack([pixels.x, pixels.y]).astype(np.float64)
    placed = ratio * position
    frequency = position / (own_box * own_pixel)
    power_shell = model_shells(own_box, own_pixel, box_size * pixel_size_angst, n_shell)
    shell = np.minimum(round_half_away(pixels.radius * ratio), n_shell - 1)
    return ImageGeometry(
        own_box,
        pixels.x,
        pixels.y,
        placed[0],
        placed[1],
        shell.astype(np.int32),
        n_coarse,
        n_shell,
        power_shell.astype(np.int32),
        frequency[0],
        frequency[1],
    )


def model_shells(
    own_box: int, own_pixel: float, box_angst: float, n_shell: int
) -> NDArray[np.int64]:
    """Give the model shell of each pixel of an image's half transform.

    Parameters
    ----------
    own_box, own_pixel
        Of the image; pixel size in Angstrom.
    box_angst, n_shell
        Of the model.

    Returns
    -------
    int64 (own_box, own_box // 2 + 1)
        -1 for pixels beyond the last shell and for Friedel duplicates. The shell is that of the
        pixel itself, as in the likelihood, not of its shell in the image (as RELION has it): with
        boxes of other sides, image shells would fall two into one model shell, none into another.
    """
    ratio = box_angst / (own_box * own_pixel)
    shells = round_half_away(half_transform_radius(own_box, 2) * ratio)
    shells[(half_transform_shells(own_box) < 0) | (shells >= n_shell)] = -1
    return shells


def _row_by_row(pixels: PixelList, n_coarse: int) -> PixelList:
    """Order the coarse pixels, then the others, as they lie in memory: slices read neighbours."""
    coarse = np.arange(pixels.n_pix) < n_coarse
    order = np.lexsort((pixels.x, pixels.y, ~coarse))
    return PixelList(pixels.x[order], pixels.y[order], pixels.radius[order])


def batch_optics(
    optics: OpticsGroups,
    batch: ParticleBatch,
    geometry: ImageGeometry,
    scale: NDArray[np.float64],
    options: ImageOptions,
) -> OpticsArrays:
    """Collect what the optics do to the projections of a batch.

    Parameters
    ----------
    optics
        All optics groups.
    batch
        Particles of one of them.
    geometry
        Its pixels.
    scale : float64 (n_img,)
        Intensity scale of each particle.
    options
        Switches of the CTF correction.
    """
    g = batch.optics_group
    coefficients = ctf_coefficients(ctf_parameters(optics, batch)) if options.apply_ctf else None
    fx, fy = geometry.freq_x, geometry.freq_y
    gamma = None
    if options.apply_ctf and len(optics.even_zernike[g]):
        gamma = even_zernike_gamma_offset(fx, fy, optics.even_zernike[g])
    return OpticsArrays(
        coefficients,
        scale,
        gamma,
        _antisymmetric_phase(optics, g, fx, fy),
        bool(optics.ctf_premultiplied[g]),
        options.intact_until_first_peak,
        options.phase_flipped,
        options.only_flip_phases,
    )


def ctf_parameters(optics: OpticsGroups, batch: ParticleBatch) -> CtfParameters:
    """Join what particles and their optics group say about the CTF."""
    g, n = batch.optics_group, batch.n_img
    u, v, angle, bfactor, scale, phase = batch.ctf.T
    return CtfParameters(
        u, v, angle,
        np.full(n, float(optics.voltage_kv[g])),
        np.full(n, float(optics.spherical_aberration_mm[g])),
        np.full(n, float(optics.amplitude_contrast[g])),
        bfactor, scale, phase,
    )  # fmt: skip


def _antisymmetric_phase(
    optics: OpticsGroups, g: int, fx: NDArray[np.float64], fy: NDArray[np.float64]
) -> NDArray[np.complex128] | None:
    """Factor exp(-i phi) that removes beam tilt and odd aberrations from images, or None."""
    phi = np.zeros(fx.size)
    if len(optics.odd_zernike[g]):
        phi += odd_zernike_phase(fx, fy, optics.odd_zernike[g])
    if np.any(optics.beam_tilt_mrad[g]):
        wavelength = float(electron_wavelength_angst(optics.voltage_kv[g]))
        phi += phase_shift_of_beam_tilt(
            fx, fy, optics.beam_tilt_mrad[g], wavelength, float(optics.spherical_aberration_mm[g])
        )
    return np.exp(-1j * phi) if np.any(phi) else None
