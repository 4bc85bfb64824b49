"""Our back-projection and M-step make the maps that relion_reconstruct writes."""

from __future__ import annotations

import shutil

import mrcfile
import numpy as np
import pytest
from factories.maps import blob_image, blob_map
from factories.optics import optics_groups
from factories.pixels import geometry, images_from, no_optics
from factories.poses import random_eulers, sums_at
from factories.stars import PIXEL_ANGST, ctf_parameters, write_map, write_particles

from relion_mpi.estep.geometry import image_geometry
from relion_mpi.geometry.euler import euler_to_matrix
from relion_mpi.geometry.symmetry import point_group
from relion_mpi.mstep.maximise import symmetrised
from relion_mpi.mstep.planes import average_planes
from relion_mpi.mstep.reconstruct import reconstruct
from relion_mpi.optics.ctf import ctf, ctf_coefficients

BOX, N = 32, 60
TOLERANCE = 1e-5
"""Of the largest voxel: RELION writes float32 files."""
MAGNIFICATION = np.array([[0.9995, 0.0002], [-0.0003, 0.9988]])
"""Anisotropic, and away from 1: at 1, rounding alone decides in RELION whether the pixels exactly
at Nyquist count, particle by particle, and sparse Fourier voxels show it."""

pytestmark = [
    pytest.mark.relion,
    pytest.mark.skipif(
        shutil.which("relion_reconstruct") is None, reason="RELION is not installed"
    ),
]


def particles(backend, *, planar=False):
    """Noisy images with CTFs and offsets; the mean is taken out as relion_reconstruct does."""
    rng = np.random.default_rng(5)
    eulers, params = random_eulers(N, 4), ctf_parameters(N, 6)
    if planar:
        eulers[:, :2] = 0.0
    offsets = rng.uniform(-6, 6, (N, 2))
    pixels = geometry(BOX, pixel=PIXEL_ANGST)
    reference = blob_image(BOX, 3) if planar else blob_map(BOX, 3)
    references = backend.load_references(reference[None], BOX // 2, 2)
    values = backend.project(references, euler_to_matrix(*eulers.T), pixels).astype(complex)
    values *= np.exp(2j * np.pi / BOX * (offsets / PIXEL_ANGST @ np.stack([pixels.x, pixels.y])))
    values *= ctf(params, pixels.freq_x, pixels.freq_y)
    images = images_from(values, pixels.x, pixels.y, BOX)
    images += rng.normal(0, 0.3 * images.std(), images.shape)
    images -= images.mean(axis=(1, 2), keepdims=True)
    return images.astype(np.float32), eulers, offsets, params


def compare(
    backend, relion, folder, magnification, flags, model_pixel, sym, *, skip_gridding, planar=False
):  # fmt: skip
    images, eulers, offsets, params = particles(backend, planar=planar)
    write_map(folder / "stack.mrcs", images)
    write_particles(
        folder / "parts.star", BOX, eulers, offsets, params, "stack.mrcs", magnification
    )
    words = ["--i", "parts.star", "--o", "map.mrc", "--ctf", "--sym", sym, *flags]
    relion("relion_reconstruct", *words, *(["--skip_gridding"] if skip_gridding else []))
    theirs = mrcfile.read(folder / "map.mrc").astype(float)

    groups = optics_groups((BOX,), (PIXEL_ANGST,), magnification)
    pixels = image_geometry(groups, 0, BOX, model_pixel, BOX, BOX)
    optics = no_optics(N, ctf_coefficients=ctf_coefficients(params))
    matrices = euler_to_matrix(*eulers.T)
    host = sums_at(backend, images, matrices, offsets / PIXEL_ANGST, pixels, optics, planar=planar)
    if planar:
        ours = average_planes(host.volume, BOX, BOX // 2, 2, skip_gridding=skip_gridding)[0]
        theirs = theirs.reshape(BOX, BOX)
    else:
        operators = point_group(sym).operators
        sums = symmetrised(host.volume[0].astype(float), operators, BOX, BOX // 2, 2)
        ours = reconstruct(sums, None, skip_gridding=skip_gridding)
    assert np.abs(ours - theirs).max() <= TOLERANCE * np.abs(theirs).max()


@pytest.mark.parametrize("sym", ["C1", "D2"])
@pytest.mark.parametrize("skip_gridding", [True, False], ids=["divide", "gridding"])
def test_maps_are_those_of_relion_reconstruct(backend, relion, tmp_path, skip_gridding, sym):
    compare(
        backend, relion, tmp_path, MAGNIFICATION, [], PIXEL_ANGST, sym,
        skip_gridding=skip_gridding,
    )  # fmt: skip


@pytest.mark.parametrize("skip_gridding", [True, False], ids=["divide", "gridding"])
def test_averages_are_those_of_relion_reconstruct(backend, relion, tmp_path, skip_gridding):
    compare(
        backend, relion, tmp_path, MAGNIFICATION, ["--refdim", 2], PIXEL_ANGST, "C1",
        skip_gridding=skip_gridding, planar=True,
    )  # fmt: skip


def test_maps_on_another_pixel_size_are_those_of_relion_reconstruct(backend, relion, tmp_path):
    compare(
        backend, relion, tmp_path, np.eye(2), ["--angpix", 3.21], 3.21, "C1", skip_gridding=True
    )
