"""Pixel lists of one optics group, and images from their coefficients."""

from __future__ import annotations

import numpy as np
from scipy import fft

from relion_mpi.backend.protocol import ImageGeometry, OpticsArrays
from relion_mpi.fourier.shells import half_transform_shells, pixel_list, round_half_away


def geometry(box, current=None, coarse=None, *, pixel=3.0):
    """Pixels of images on the model's own grid."""
    current = box if current is None else current
    coarse = current if coarse is None else coarse
    pixels = pixel_list(box, current / 2)
    x, y = pixels.x.astype(float), pixels.y.astype(float)
    return ImageGeometry(
        box,
        pixels.x,
        pixels.y,
        x,
        y,
        round_half_away(pixels.radius).astype(np.int32),
        pixels.count_within(coarse / 2),
        box // 2 + 1,
        half_transform_shells(box),
        x / (box * pixel),
        y / (box * pixel),
    )


def no_optics(n_img, **changes):
    """Optics without a CTF, scale 1."""
    return OpticsArrays(**({"ctf_coefficients": None, "scale": np.ones(n_img)} | changes))


def images_from(values, x, y, box):
    """Inverse transforms of listed coefficients (n, n_pix), float64 (n, box, box)."""
    half = np.zeros((len(values), box, box // 2 + 1), complex)
    half[:, y, x] = values
    mates = (x == 0) & (y > 0)
    half[:, -y[mates], 0] = values[:, mates].conj()
    return fft.fftshift(fft.irfft2(half, s=(box, box), norm="forward"), axes=(1, 2))
