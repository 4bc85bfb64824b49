"""Fourier pixels and optics of each optics group."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.backend.protocol import ImageGeometry, OpticsArrays
from relion_mpi.fourier.shells import (
    PixelList,
    half_transform_radius,
    half_transform_shells,
    pixel_list,
    pixels_per_shell,
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


def without_cropped_row(geometry: ImageGeometry) -> ImageGeometry:
    """Leave out the pixels that a transform cropped to S rows lacks: those of the row k_y = -S/2.

    They lie in the last shell, beyond S/2, where references are zero.
    """
    half = int(geometry.y.max())
    if 2 * half >= geometry.box_size:
        return geometry
    power_shell = geometry.power_shell.copy()
    row = power_shell[geometry.box_size - half]
    row[row <= geometry.shell.max()] = -1
    return replace(geometry, power_shell=power_shell)


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


@lru_cache(maxsize=64)
def components_per_pixel(
    own_box: int, own_pixel: float, box_size: int, pixel_size_angst: float
) -> NDArray[np.float64]:
    """Count the model's components for each pixel that a group's images have in a shell.

    Noise sums are divided by the model's counts later. Images whose box is of another side have
    more or fewer pixels in a shell.

    Parameters
    ----------
    own_box, own_pixel
        Of the images; pixel size in Angstrom.
    box_size, pixel_size_angst
        Of the model.

    Returns
    -------
    float64 (box_size // 2 + 1,)
        Shared, so read-only.
    """
    n_shell = box_size // 2 + 1
    shells = model_shells(own_box, own_pixel, box_size * pixel_size_angst, n_shell)
    own = np.bincount(shells[shells >= 0], minlength=n_shell)
    ratio = np.divide(pixels_per_shell(box_size), own, out=np.zeros(n_shell), where=own > 0)
    ratio.flags.writeable = False
    return ratio


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
    # The same for all batches of a group, and at the cost of many particles.
    fx, fy = _Same(geometry.freq_x), _Same(geometry.freq_y)
    gamma = phase = None
    tilt_x, tilt_y = optics.beam_tilt_mrad[g].tolist()
    if options.apply_ctf and len(optics.even_zernike[g]):
        gamma = _gamma_offset(fx, fy, tuple(optics.even_zernike[g].tolist()))
    if len(optics.odd_zernike[g]) or tilt_x or tilt_y:
        phase = _antisymmetric_phase(
            fx,
            fy,
            odd_zernike=tuple(optics.odd_zernike[g].tolist()),
            beam_tilt_mrad=(tilt_x, tilt_y),
            voltage_kv=float(optics.voltage_kv[g]),
            spherical_aberration_mm=float(optics.spherical_aberration_mm[g]),
        )
    return OpticsArrays(
        coefficients,
        scale,
        gamma,
        phase,
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


class _Same:
    """An array as the key of a cache: equal to itself only."""

    __slots__ = ("array",)

    def __init__(self, array: NDArray[np.float64]) -> None:
        self.array = array

    def __hash__(self) -> int:
        return id(self.array)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.array is self.array


@lru_cache(maxsize=32)
def _gamma_offset(fx: _Same, fy: _Same, even_zernike: tuple[float, ...]) -> NDArray[np.float64]:
    gamma = even_zernike_gamma_offset(fx.array, fy.array, np.array(even_zernike))
    gamma.flags.writeable = False
    return gamma


@lru_cache(maxsize=32)
def _antisymmetric_phase(
    fx: _Same,
    fy: _Same,
    *,
    odd_zernike: tuple[float, ...],
    beam_tilt_mrad: tuple[float, float],
    voltage_kv: float,
    spherical_aberration_mm: float,
) -> NDArray[np.complex128] | None:
    """Factor exp(-i phi) that removes beam tilt and odd aberrations from images, or None."""
    phi = np.zeros(fx.array.size)
    if odd_zernike:
        phi += odd_zernike_phase(fx.array, fy.array, np.array(odd_zernike))
    if any(beam_tilt_mrad):
        phi += phase_shift_of_beam_tilt(
            fx.array, fy.array, beam_tilt_mrad,
            float(electron_wavelength_angst(voltage_kv)), spherical_aberration_mm,
        )  # fmt: skip
    if not np.any(phi):
        return None
    phase: NDArray[np.complex128] = np.exp(-1j * phi)
    phase.flags.writeable = False
    return phase
