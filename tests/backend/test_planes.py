"""2D references: slices are planes turned, and are scattered into the plane of their class."""

from __future__ import annotations

import numpy as np
import pytest
from factories.maps import blob_image, blob_slices
from factories.pixels import geometry, no_optics
from factories.poses import in_plane_matrices, sums_at
from factories.problem import problem
from scipy import ndimage

from relion_mpi.backend.cpu import coarse
from relion_mpi.backend.half_plane import n_rows, plane_shape, row_starts
from relion_mpi.fourier.masks import sinc_squared
from relion_mpi.geometry.euler import euler_to_matrix

BOX = 32
PIXELS = geometry(BOX)


def project(backend, matrices, image, *, r_max=BOX // 2, padding=2):
    references = backend.load_references(image[None], r_max, padding)
    return backend.project(references, matrices, PIXELS).astype(complex)


def transform(image):
    """Listed coefficients of an image (box, box)."""
    full = np.fft.fft2(np.fft.ifftshift(image)) / BOX**2
    return full[PIXELS.y, PIXELS.x]


def test_slices_are_the_transform_of_the_turned_image(backend):
    image, matrices = blob_image(BOX, spread=0.1), in_plane_matrices(12)
    exact = blob_slices(BOX, matrices, PIXELS.x, PIXELS.y, spread=0.1)
    errors = [
        np.abs(project(backend, matrices, image, padding=p) - exact).max() / np.abs(exact).max()
        for p in (1, 2, 4)
    ]
    assert errors[1] < 0.02
    assert errors[2] < errors[1] / 2 < errors[0] / 4


def test_a_turn_is_the_way_scipy_turns_images(backend):
    image = blob_image(BOX, spread=0.1)
    found = project(backend, euler_to_matrix(0, 0, [0.0, 35.0]), image)
    # Axes turn by psi from x to y; y runs down in scipy's images.
    turned = ndimage.rotate(image[1:, 1:], 35.0, reshape=False, order=5)
    back = ndimage.rotate(image[1:, 1:], -35.0, reshape=False, order=5)
    scale = np.abs(found).max()
    errors = [
        np.abs(found[1] - transform(np.pad(one, ((1, 0), (1, 0))))).max() / scale
        for one in (turned, back)
    ]
    assert errors[0] < 0.02
    assert errors[1] > 0.1
    assert np.abs(found[0] - transform(image)).max() < 0.02 * scale


def test_slices_at_rest_are_exact(backend, eps):
    image = blob_image(BOX, spread=0.1)
    found = project(backend, np.eye(3)[None], image)[0]
    expected = transform(image / sinc_squared(BOX, 2, 2))
    inside = PIXELS.x**2 + PIXELS.y**2 < (BOX // 2) ** 2
    atol = 100 * eps * np.abs(expected).max()
    np.testing.assert_allclose(found[inside], expected[inside], atol=atol)


def test_half_a_turn_conjugates(backend, eps):
    image, psi = blob_image(BOX), np.array([10.0, 77.0])
    first, second = (project(backend, euler_to_matrix(0, 0, psi + t), image) for t in (0, 180))
    inside = PIXELS.x**2 + PIXELS.y**2 < (BOX // 2) ** 2
    atol = 2000 * eps * np.abs(first).max()
    np.testing.assert_allclose(second[:, inside], first[:, inside].conj(), atol=atol)


def test_nothing_lies_beyond_the_last_shell(backend):
    found = project(backend, in_plane_matrices(5), blob_image(BOX, sigma_pix=0.8), r_max=9)[0]
    radius = np.hypot(PIXELS.x, PIXELS.y)
    assert not found[radius > 9.001].any()
    assert found[radius < 9].all()


def half_plane(rows, size):
    voxels = np.asarray(rows, float).reshape(*plane_shape(size), 3)
    return voxels[..., 0] + 1j * voxels[..., 1], voxels[..., 2]


def padded_transform(image, r_max):
    """Half of the padded transform as slices see it, y centred."""
    padded = np.pad(image / sinc_squared(BOX, 2, 2), BOX // 2)
    full = np.fft.rfft2(np.fft.ifftshift(padded)) / BOX**2
    index = np.arange(-2 * r_max - 1, 2 * r_max + 2)
    x = np.arange(2 * r_max + 2)
    out = full[np.ix_(index, x % full.shape[1])]
    out[index[:, None] ** 2 + x**2 > (2 * r_max) ** 2] = 0
    return out


def test_the_scatter_is_the_adjoint_of_slicing(backend, eps):
    n, r_max = 12, BOX // 2
    rng = np.random.default_rng(1)
    image, matrices = blob_image(BOX, sigma_pix=1.2), in_plane_matrices(n)
    images = rng.normal(size=(n, BOX, BOX)).astype(np.float32)
    values = np.stack([transform(one.astype(float)) for one in images])
    host = sums_at(backend, images, matrices, np.zeros((n, 2)), PIXELS, no_optics(n), planar=True)
    data, weight = half_plane(host.volume[0], 2 * (2 * r_max + 1) + 1)
    projected = project(backend, matrices, image)
    forward = (projected.conj() * values).real.sum()
    backward = (padded_transform(image, r_max).conj() * data).real.sum()
    assert abs(forward - backward) < 100 * eps * np.abs(projected.conj() * values).sum()
    assert weight.sum() == pytest.approx(n * PIXELS.n_pix, rel=1e-4)


def test_rows_lie_one_after_the_other(backend):
    rng = np.random.default_rng(2)
    image = rng.normal(size=(1, BOX, BOX)).astype(np.float32)
    host = sums_at(
        backend, image, np.eye(3)[None], np.zeros((1, 2)), PIXELS, no_optics(1), planar=True
    )
    size = 2 * (BOX + 1) + 1
    assert host.volume.shape == (1, n_rows(size), 3)
    at = row_starts(size)[size // 2 + 2 * PIXELS.y] + 2 * PIXELS.x
    inside = np.hypot(PIXELS.x, PIXELS.y) < BOX // 2
    found = (host.volume[0, at, 0] + 1j * host.volume[0, at, 1])[inside]
    expected = transform(image[0].astype(float))[inside]
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(host.volume[0, at, 2][inside], 1.0, atol=1e-6)


def test_classes_share_tiles_without_changing_what_is_found(backend, eps, monkeypatch):
    made = problem(4, n_class=3, snr=0.1, seed=50, planar=True)
    whole, _ = made.search(backend)
    module = coarse
    if backend.name == "gpu":
        from relion_mpi.backend.gpu import coarse as module
    # 28 orientations a class: tiles that end within classes.
    monkeypatch.setattr(module, "TILE", 18)
    parts, _ = made.search(backend)
    np.testing.assert_array_equal(parts.class_index, whole.class_index)
    np.testing.assert_array_equal(parts.n_significant, whole.n_significant)
    np.testing.assert_allclose(parts.log_evidence, whole.log_evidence, rtol=1000 * eps)
