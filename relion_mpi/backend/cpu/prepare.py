"""From particle images to masked and unmasked transforms with their CTFs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from scipy import fft

from relion_mpi.backend.cpu.project import FAST
from relion_mpi.backend.cpu.shifts import phase_table
from relion_mpi.fourier.masks import soft_sphere

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from relion_mpi.backend.protocol import ImageGeometry, ImageMask, OpticsArrays


@dataclass(frozen=True, slots=True)
class Images:
    """A prepared batch.

    Attributes
    ----------
    geometry : pixels in use
    masked, unmasked : float (n_img, 2, n_pix) real and imaginary parts
    reference_ctf : float (n_img, n_pix) what multiplies a projection
    data_ctf : float (n_img, n_pix) what multiplies an image in the back-projection
    weight_ctf : float (n_img, n_pix) what is added to the weights
    power : float64 (n_img, n_shell) sum of |masked transform|^2 per shell, full size
    """

    geometry: ImageGeometry
    masked: NDArray[np.floating[Any]]
    unmasked: NDArray[np.floating[Any]]
    reference_ctf: NDArray[np.floating[Any]]
    data_ctf: NDArray[np.floating[Any]]
    weight_ctf: NDArray[np.floating[Any]]
    power: NDArray[np.float64]

    @property
    def n_img(self) -> int:
        """Number of images."""
        return int(self.masked.shape[0])


@numba.njit(cache=True, parallel=True, fastmath=FAST)
def recentre(images, shift_pix, factor, out):  # type: ignore[no-untyped-def]
    """Multiply images by a factor and shift their content by whole pixels, zeros entering.

    Parameters
    ----------
    images : float32 (n_img, box, box)
    shift_pix : int64 (n_img, 2) as (x, y)
    factor : float (n_img,)
    out : float (n_img, box, box)
    """
    n_img, box, _ = images.shape
    for i in numba.prange(n_img):
        dx, dy = shift_pix[i, 0], shift_pix[i, 1]
        for y in range(box):
            for x in range(box):
                sx, sy = x - dx, y - dy
                inside = (sx >= 0) & (sx < box) & (sy >= 0) & (sy < box)
                out[i, y, x] = images[i, sy, sx] * factor[i] if inside else 0.0


@numba.njit(cache=True, parallel=True, fastmath=FAST)
def blend_outside(images, inside, fill, has_fill, out):  # type: ignore[no-untyped-def]
    """Fade images beyond a mask to their outside mean, or to a fill image.

    Parameters
    ----------
    images : float (n_img, box, box)
    inside : float64 (box, box) weight of the image itself
    fill : float (n_img or 1, box, box) used when has_fill
    out : float (n_img, box, box)
    """
    n_img, box, _ = images.shape
    for i in numba.prange(n_img):
        total, weight = 0.0, 0.0
        for y in range(box):
            for x in range(box):
                outside = 1.0 - inside[y, x]
                total += outside * images[i, y, x]
                weight += outside
        mean = total / weight if weight > 0.0 else 0.0
        for y in range(box):
            for x in range(box):
                other = fill[i, y, x] if has_fill else mean
                keep = inside[y, x]
                out[i, y, x] = keep * images[i, y, x] + (1.0 - keep) * other


@numba.njit(cache=True, parallel=True, fastmath=FAST)
def gather(transforms, xs, ys, norm, out):  # type: ignore[no-untyped-def]
    """Pick listed coefficients, move the origin to the image centre, and normalise.

    Parameters
    ----------
    transforms : complex (n_img, box, box // 2 + 1) of images centred at box // 2
    xs, ys : int32 (n_pix,)
    norm : factor
    out : float (n_img, 2, n_pix)
    """
    n_img, box, _ = transforms.shape
    for i in numba.prange(n_img):
        for k in range(xs.size):
            x, y = xs[k], ys[k]
            value = transforms[i, y if y >= 0 else y + box, x]
            sign = norm if (x + y) % 2 == 0 else -norm
            out[i, 0, k] = sign * value.real
            out[i, 1, k] = sign * value.imag


@numba.njit(cache=True, parallel=True)
def shell_power(transforms, power_shell, norm, out):  # type: ignore[no-untyped-def]
    """Sum |norm * transform|^2 per shell.

    Parameters
    ----------
    transforms : complex (n_img, box, box // 2 + 1)
    power_shell : int32 (box, box // 2 + 1), -1 where a pixel does not count
    norm : factor of the transform
    out : float64 (n_img, n_shell)
    """
    n_img, box, half = transforms.shape
    for i in numba.prange(n_img):
        out[i, :] = 0.0
        for y in range(box):
            for x in range(half):
                shell = power_shell[y, x]
                if shell >= 0:
                    value = transforms[i, y, x]
                    out[i, shell] += norm * norm * (value.real**2 + value.imag**2)


@numba.njit(cache=True, parallel=True)
def evaluate_ctf(coefficients, fx, fy, gamma_offset, intact, absolute, flip, out):  # type: ignore[no-untyped-def]
    """Evaluate contrast transfer functions; the phase in float64, the value in out's dtype.

    Parameters
    ----------
    coefficients : float64 (n_img, 8) of `relion_mpi.optics.ctf.ctf_coefficients`
    fx, fy : float64 (n_pix,) 1/Angstrom
    gamma_offset : float64 (n_pix,) radians
    intact, absolute, flip : as in `relion_mpi.optics.ctf.ctf`
    out : float (n_img, n_pix)
    """
    for i in numba.prange(coefficients.shape[0]):
        c = coefficients[i]
        for k in range(fx.size):
            x, y = fx[k], fy[k]
            u2 = x * x + y * y
            gamma = c[0] * x * x + c[1] * x * y + c[2] * y * y + c[3] * u2 * u2 + c[4]
            gamma += gamma_offset[k]
            if intact and abs(gamma) < np.pi / 2:
                value = 1.0
            else:
                value = -np.sin(gamma)
            value *= np.exp(c[6] * u2)
            if absolute:
                value = abs(value)
            elif flip:
                value = -1.0 if value < 0.0 else 1.0
            value *= c[5]
            if abs(value) < 1e-8:
                value = 1e-8 if value >= 0.0 else -1e-8
            out[i, k] = value


def recentred(
    images: NDArray[np.floating[Any]],
    recentre_pix: NDArray[np.int64],
    factor: NDArray[np.float64],
    dtype: DTypeLike,
) -> NDArray[np.floating[Any]]:
    """Do `recentre` for float32 or float16 images; numba cannot compute with the latter."""
    centred: NDArray[np.floating[Any]] = np.empty(images.shape, dtype)
    if images.dtype != np.float16:
        recentre(images, recentre_pix, factor, centred)
        return centred
    # A few images at a time, so that the batch is never there as float32.
    n_part = 2 * numba.get_num_threads()
    for start in range(0, images.shape[0], n_part):
        part = slice(start, start + n_part)
        whole = images[part].astype(np.float32)
        recentre(whole, recentre_pix[part], factor[part], centred[part])
    return centred


def prepare_images(
    images: NDArray[np.floating[Any]],
    recentre_pix: NDArray[np.int64],
    factor: NDArray[np.float64],
    mask: ImageMask,
    geometry: ImageGeometry,
    optics: OpticsArrays,
    dtype: DTypeLike,
    remainder_pix: NDArray[np.float64] | None = None,
) -> Images:
    """Do what `Backend.prepare` promises.

    Source
    ------
    RELION MlOptimiser::getFourierTransformsAndCtfs.
    """
    n_img, box, _ = images.shape
    norm = 1.0 / box**2
    centred = recentred(images, recentre_pix, factor, dtype)
    masked = _masked(centred, mask)
    threads = numba.get_num_threads()
    parts = []
    power = np.empty((n_img, geometry.n_shell))
    # A mask beyond the corners changes nothing: one transform is both.
    sources = ((centred, True),) if masked is centred else ((masked, True), (centred, False))
    for source, wants_power in sources:
        transforms = fft.rfft2(source, workers=threads)
        if wants_power:
            shell_power(transforms, geometry.power_shell, norm, power)
        out = np.empty((n_img, 2, geometry.n_pix), dtype)
        gather(transforms, geometry.x, geometry.y, norm, out)
        del transforms  # before there are others
        if remainder_pix is not None:
            out = _moved(out, remainder_pix, geometry)
        parts.append(_demodulated(out, optics.phase))
    reference_ctf, data_ctf, weight_ctf = _transfer(geometry, optics, n_img, dtype)
    return Images(geometry, parts[0], parts[-1], reference_ctf, data_ctf, weight_ctf, power)


def _masked(images: NDArray[np.floating[Any]], mask: ImageMask) -> NDArray[np.floating[Any]]:
    """Return masked images, or the images themselves where the mask leaves them as they are."""
    inside = soft_sphere(images.shape[1], mask.radius_pix, mask.edge_pix, 2)
    if inside.min() >= 1.0:
        return images
    masked = np.empty_like(images)
    dtype, has_fill = images.dtype, mask.fill is not None
    fill = np.zeros((1, 1, 1), dtype) if mask.fill is None else mask.fill.astype(dtype)
    blend_outside(images, inside, fill, has_fill, masked)
    return masked


def _moved(
    parts: NDArray[np.floating[Any]], shift_pix: NDArray[np.float64], geometry: ImageGeometry
) -> NDArray[np.floating[Any]]:
    """Move the content of each image (n_img, 2, n_pix) by a shift of its own."""
    phase = phase_table(shift_pix, geometry.x, geometry.y, geometry.box_size, parts.dtype)
    (re, im), (cos, sin) = parts.swapaxes(0, 1), phase.swapaxes(0, 1)
    return np.stack([re * cos - im * sin, re * sin + im * cos], axis=1)


def _demodulated(
    parts: NDArray[np.floating[Any]], phase: NDArray[np.complex128] | None
) -> NDArray[np.floating[Any]]:
    """Multiply planar complex data (n_img, 2, n_pix) by a phase image."""
    if phase is None:
        return parts
    cos, sin = phase.real.astype(parts.dtype), phase.imag.astype(parts.dtype)
    re, im = parts[:, 0], parts[:, 1]
    return np.stack([re * cos - im * sin, re * sin + im * cos], axis=1)


def _transfer(
    geometry: ImageGeometry, optics: OpticsArrays, n_img: int, dtype: DTypeLike
) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
    """Make the factors of projection, image and weight, scale included."""
    ctf = np.ones((n_img, geometry.n_pix), dtype)
    if optics.ctf_coefficients is not None:
        offset = optics.gamma_offset
        evaluate_ctf(
            optics.ctf_coefficients,
            geometry.freq_x,
            geometry.freq_y,
            np.zeros(geometry.n_pix) if offset is None else offset,
            optics.intact_until_first_peak,
            optics.phase_flipped,
            optics.only_flip_phases,
            ctf,
        )
    scale = optics.scale.astype(dtype)[:, None]
    scaled = ctf * scale
    if optics.premultiplied:
        # The image carries one CTF already: it is compared with CTF^2 and not multiplied again.
        return ctf * scaled, np.broadcast_to(scale, ctf.shape), scaled * scaled
    return scaled, scaled, scaled * scaled
