"""Our slices, inverse transformed, are the images that relion_project writes."""

from __future__ import annotations

import shutil

import mrcfile
import numpy as np
import pytest
from factories.maps import blob_map
from factories.pixels import geometry, images_from
from factories.poses import random_eulers
from factories.stars import PIXEL_ANGST, ctf_parameters, write_map, write_particles

from relion_mpi.fourier.masks import lowpass
from relion_mpi.fourier.shells import radius_grid
from relion_mpi.geometry.euler import euler_to_matrix
from relion_mpi.optics.ctf import ctf

BOX, N, LAST_SHELL = 32, 12, 9
TOLERANCE = 1e-5
"""Of the largest pixel: float32 files, and float32 slices of O(100) terms."""

pytestmark = [
    pytest.mark.relion,
    pytest.mark.skipif(shutil.which("relion_project") is None, reason="RELION is not installed"),
]


def poses():
    """Random ones, and those where conventions show: the poles, and axes on the grid."""
    eulers = random_eulers(N, 1)
    eulers[:5] = [[0, 0, 0], [0, 180, 0], [0, 90, 0], [90, 90, 90], [30, 0, 45]]
    return eulers


@pytest.mark.parametrize("with_ctf", [False, True], ids=["plain", "ctf"])
@pytest.mark.parametrize("with_offsets", [False, True], ids=["centred", "offsets"])
def test_projections_are_those_of_relion_project(backend, relion, tmp_path, with_ctf, with_offsets):
    rng = np.random.default_rng(2)
    # At exactly Nyquist rounding alone decides in RELION which slices have a value: the map has
    # none there, nor at the edges of its box.
    noise = lowpass(rng.normal(size=(BOX,) * 3), PIXEL_ANGST, BOX * PIXEL_ANGST / LAST_SHELL)
    envelope = np.exp(-((radius_grid(BOX, 3) / 5) ** 2))
    volume = (blob_map(BOX, 3) + 0.5 * envelope * noise).astype(np.float32)
    eulers, params = poses(), ctf_parameters(N)
    offsets = rng.uniform(-8, 8, (N, 2)) if with_offsets else np.zeros((N, 2))
    write_map(tmp_path / "map.mrc", volume)
    write_particles(tmp_path / "poses.star", BOX, eulers, offsets, params)
    flags = ["--ctf"] if with_ctf else []
    relion("relion_project", "--i", "map.mrc", "--ang", "poses.star", "--o", "out", *flags)
    theirs = mrcfile.read(tmp_path / "out.mrcs").astype(float)

    pixels = geometry(BOX, pixel=PIXEL_ANGST)
    references = backend.load_references(volume[None], BOX // 2, 2)
    values = backend.project(references, euler_to_matrix(*eulers.T), pixels).astype(complex)
    # The origin is what centres a particle, so its image lies at minus that.
    lever = offsets / PIXEL_ANGST @ np.stack([pixels.x, pixels.y])
    values *= np.exp(2j * np.pi / BOX * lever)
    if with_ctf:
        values *= ctf(params, pixels.freq_x, pixels.freq_y)
    ours = images_from(values, pixels.x, pixels.y, BOX)
    assert np.abs(ours - theirs).max() <= TOLERANCE * np.abs(theirs).max()
