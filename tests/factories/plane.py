"""What a backend did to images, read off the central plane of sums at the identity.

At padding 2 the pixels of an image at the identity fall on voxels, so nothing is interpolated.
"""

from __future__ import annotations

import numpy as np

from factories.poses import no_mask, sums_at
from factories.sums import whole


def back_projected(backend, image, geometry, optics, shift=(0.0, 0.0)):
    """Data and weights (n_pix,) of one image (box, box) at the identity, noise variance 1."""
    shifts = np.array([shift], float)
    host = sums_at(backend, image[None], np.eye(3)[None], shifts, geometry, optics)
    return read_plane(host, geometry)


def read_plane(host, geometry):
    """Complex data and weights at the voxels of the listed pixels."""
    volume = whole(np.asarray(host.volume[0], float))
    origin = volume.shape[0] // 2
    voxel = volume[origin, origin + 2 * geometry.y, 2 * geometry.x]
    return voxel[:, 0] + 1j * voxel[:, 1], voxel[:, 2]


def prepared_power(backend, images, geometry, optics, *, moved=None, factor=None, mask=None):
    """Power spectra of a prepared batch."""
    n, box, _ = images.shape
    handle = backend.prepare(
        images.astype(np.float32),
        np.zeros((n, 2), np.int64) if moved is None else moved,
        np.ones(n) if factor is None else factor,
        no_mask(box) if mask is None else mask,
        geometry,
        optics,
    )
    return backend.power_spectra(handle)
