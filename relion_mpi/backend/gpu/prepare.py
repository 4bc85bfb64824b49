"""From particle images to masked and unmasked transforms with their CTFs, on the device."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cupy as cp
import numpy as np

from relion_mpi.backend.gpu.launch import BLOCK, Arithmetic, blocks
from relion_mpi.fourier.masks import soft_sphere

if TYPE_CHECKING:
    from relion_mpi.backend.protocol import ImageGeometry, ImageMask, OpticsArrays


@dataclass(frozen=True, slots=True)
class DeviceGeometry:
    """An `ImageGeometry` with its arrays on the device.

    `shell_order` lists the pixels by shell, those of shell s from `shell_start[s]` on; `masks`
    keeps the particle masks that were asked for. `power_shell` is the shell of each pixel of the
    whole transform, or for exact sums these pixels listed in the same way: (order, start).
    """

    host: ImageGeometry
    x: Any
    y: Any
    slice_x: Any
    slice_y: Any
    shell: Any
    power_shell: tuple[Any, ...]
    freq_x: Any
    freq_y: Any
    shell_order: Any
    shell_start: Any
    masks: dict[tuple[float, float], Any] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, geometry: ImageGeometry, arithmetic: Arithmetic) -> DeviceGeometry:
        """Copy a geometry to the device."""
        real = arithmetic.real
        order, start = _by_shell(geometry.shell, geometry.n_shell)
        power_shell = geometry.power_shell.ravel()
        of_power = _by_shell(power_shell, geometry.n_shell) if arithmetic.exact else (power_shell,)
        return cls(
            geometry,
            cp.asarray(geometry.x),
            cp.asarray(geometry.y),
            cp.asarray(geometry.slice_x.astype(real)),
            cp.asarray(geometry.slice_y.astype(real)),
            cp.asarray(geometry.shell),
            tuple(cp.asarray(one) for one in of_power),
            cp.asarray(geometry.freq_x),
            cp.asarray(geometry.freq_y),
            cp.asarray(order),
            cp.asarray(start),
        )

    def mask(self, mask: ImageMask, real: Any) -> Any:
        """Return how much of each pixel a particle mask keeps, real (box, box)."""
        key = mask.radius_pix, mask.edge_pix
        # Other threads' streams use it too: nobody may see it before it is there.
        with self._lock:
            if key not in self.masks:
                inside = soft_sphere(self.host.box_size, mask.radius_pix, mask.edge_pix, 2)
                self.masks[key] = cp.asarray(inside.astype(real))
                cp.cuda.get_current_stream().synchronize()
            return self.masks[key]


def _by_shell(shell: Any, n_shell: int) -> tuple[Any, Any]:
    """List pixels by shell, int32: (order, start of each shell and end of the last)."""
    order = np.argsort(shell, kind="stable")
    start = np.searchsorted(shell[order], np.arange(n_shell + 1))
    return order.astype(np.int32), start.astype(np.int32)


@dataclass(frozen=True, slots=True)
class Images:
    """A prepared batch; see `relion_mpi.backend.cpu.prepare.Images`.

    masked and unmasked are complex (n_img, n_pix), the CTFs real (n_img, n_pix).
    """

    geometry: DeviceGeometry
    masked: Any
    unmasked: Any
    reference_ctf: Any
    data_ctf: Any
    weight_ctf: Any
    power: Any

    @property
    def n_img(self) -> int:
        """Number of images."""
        return int(self.masked.shape[0])

    @property
    def n_pix(self) -> int:
        """Pixels of the second pass."""
        return int(self.masked.shape[1])


def prepare_images(
    images: Any,
    recentre_pix: Any,
    factor: Any,
    mask: ImageMask,
    geometry: DeviceGeometry,
    optics: OpticsArrays,
    arithmetic: Arithmetic,
    remainder_pix: Any = None,
) -> Images:
    """Do what `Backend.prepare` promises."""
    n_img, box, _ = images.shape
    total = n_img * box * box
    centred = cp.empty((n_img, box, box), arithmetic.real)
    arithmetic.kernel("prepare", "recentre")(
        (blocks(total),), (BLOCK,),
        (_on_device(images), np.int32(images.dtype == np.float16),
         cp.asarray(recentre_pix.astype(np.int32)), cp.asarray(factor.astype(arithmetic.real)),
         np.int32(box), np.int64(total), centred),
    )  # fmt: skip
    inside = geometry.mask(mask, arithmetic.real)
    fill = inside if mask.fill is None else cp.asarray(mask.fill.astype(arithmetic.real))
    masked = cp.empty_like(centred)
    arithmetic.kernel("prepare", "mask_outside")(
        (n_img,), (BLOCK,),
        (centred, inside, fill, np.int32(mask.fill is not None), np.int32(box * box), masked),
    )  # fmt: skip
    phase = None if optics.phase is None else cp.asarray(optics.phase.astype(arithmetic.pair))
    transforms = cp.fft.rfft2(masked)
    power = _shell_power(transforms, geometry, arithmetic)
    masked_ft = _gathered(transforms, geometry, phase, arithmetic)
    unmasked_ft = _gathered(cp.fft.rfft2(centred), geometry, phase, arithmetic)
    if remainder_pix is not None:
        shift = cp.asarray(np.ascontiguousarray(remainder_pix, np.float64))
        for one in (masked_ft, unmasked_ft):
            arithmetic.kernel("prepare", "move_content")(
                (blocks(one.size),), (BLOCK,),
                (one, geometry.x, geometry.y, shift, np.int32(box), np.int32(one.shape[1]),
                 np.int64(one.size)),
            )  # fmt: skip
    reference_ctf, data_ctf, weight_ctf = _transfer(geometry, optics, n_img, arithmetic)
    return Images(geometry, masked_ft, unmasked_ft, reference_ctf, data_ctf, weight_ctf, power)


def _on_device(images: Any) -> Any:
    """Copy images as they are; from pinned memory this does not wait."""
    images = np.ascontiguousarray(images)
    found = cp.empty(images.shape, images.dtype)
    stream = cp.cuda.get_current_stream()
    found.data.copy_from_host_async(images.ctypes.data, images.nbytes, stream)
    return found


def _shell_power(transforms: Any, geometry: DeviceGeometry, arithmetic: Arithmetic) -> Any:
    n_img = transforms.shape[0]
    n_shell, box = geometry.host.n_shell, geometry.host.box_size
    out = cp.empty((n_img, n_shell))
    n_coefficients = box * (box // 2 + 1)
    arithmetic.kernel("prepare", "shell_power")(
        (n_img,), (BLOCK,),
        (transforms, *geometry.power_shell, np.int32(n_coefficients), np.int32(n_shell),
         np.float64(1.0 / box**2), out),
        shared_mem=8 * n_shell,
    )  # fmt: skip
    return out


def _gathered(
    transforms: Any, geometry: DeviceGeometry, phase: Any, arithmetic: Arithmetic
) -> Any:
    n_img, n_pix = transforms.shape[0], geometry.host.n_pix
    out = cp.empty((n_img, n_pix), arithmetic.pair)
    box = geometry.host.box_size
    arithmetic.kernel("prepare", "gather")(
        (blocks(out.size),), (BLOCK,),
        (transforms, geometry.x, geometry.y, out if phase is None else phase,
         np.int32(phase is not None), np.int32(box), np.int32(n_pix), np.int64(out.size),
         arithmetic.real.type(1.0 / box**2), out),
    )  # fmt: skip
    return out


def _transfer(
    geometry: DeviceGeometry, optics: OpticsArrays, n_img: int, arithmetic: Arithmetic
) -> tuple[Any, Any, Any]:
    """Make the factors of projection, image and weight, scale included."""
    n_pix = geometry.host.n_pix
    ctf = cp.ones((n_img, n_pix), arithmetic.real)
    if optics.ctf_coefficients is not None:
        offset = optics.gamma_offset
        arithmetic.kernel("prepare", "evaluate_ctf")(
            (blocks(ctf.size),), (BLOCK,),
            (cp.asarray(optics.ctf_coefficients), geometry.freq_x, geometry.freq_y,
             cp.zeros(n_pix) if offset is None else cp.asarray(offset),
             np.int32(optics.intact_until_first_peak), np.int32(optics.phase_flipped),
             np.int32(optics.only_flip_phases), np.int32(n_pix), np.int64(ctf.size), ctf),
        )  # fmt: skip
    scale = cp.asarray(optics.scale.astype(arithmetic.real))[:, None]
    scaled = ctf * scale
    if optics.premultiplied:
        # The image carries one CTF already: it is compared with CTF^2 and not multiplied again.
        return ctf * scaled, cp.ascontiguousarray(cp.broadcast_to(scale, ctf.shape)), scaled**2
    return scaled, scaled, scaled * scaled
