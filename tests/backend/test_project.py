"""Slices against the exact transform of Gaussians, and the symmetries they must have."""

from __future__ import annotations

import numpy as np
import pytest
from factories.maps import blob_map, blob_slices
from factories.optics import optics_groups
from factories.pixels import geometry
from factories.poses import random_matrices

from relion_mpi.estep.geometry import image_geometry
from relion_mpi.geometry.euler import euler_to_matrix

BOX = 32
PIXELS = geometry(BOX)
SPREAD = 0.1
INTERPOLATION = 0.02
"""Trilinear interpolation at padding 2 of density within a fifth of the box, of the largest
coefficient."""


def project(backend, matrices, pixels=PIXELS, *, r_max=BOX // 2, padding=2):
    references = backend.load_references(blob_map(BOX, spread=SPREAD)[None], r_max, padding)
    return backend.project(references, matrices, pixels).astype(complex)


def poses():
    special = euler_to_matrix([0, 0, 0, 90, 30], [0, 180, 90, 90, 180], [0, 0, 0, 90, 77])
    return np.concatenate([special, random_matrices(10, 1)])


def error(found, exact):
    return np.abs(found - exact).max() / np.abs(exact).max()


def test_slices_are_the_transform_of_the_projected_map(backend):
    exact = blob_slices(BOX, poses(), PIXELS.x, PIXELS.y, spread=SPREAD)
    assert error(project(backend, poses()), exact) < INTERPOLATION


def test_more_padding_interpolates_better(backend):
    exact = blob_slices(BOX, poses(), PIXELS.x, PIXELS.y, spread=SPREAD)
    errors = [error(project(backend, poses(), padding=p), exact) for p in (1, 2, 4)]
    assert errors[2] < errors[1] / 2 < errors[0] / 4


def test_slices_on_the_grid_are_exact(backend, eps):
    # At padding 2 the plane of the identity falls on grid points: no interpolation, but the
    # correction for it is there: undo it on the map.
    volume = blob_map(BOX, spread=SPREAD)
    axis = np.arange(BOX) - BOX // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    corrected = volume / np.sinc(np.sqrt(x**2 + y**2 + z**2) / (2 * BOX)) ** 2
    image = np.fft.fft2(np.fft.ifftshift(corrected.sum(axis=0))) / BOX**2
    found = project(backend, np.eye(3)[None])[0]
    inside = PIXELS.x**2 + PIXELS.y**2 < (BOX // 2) ** 2
    expected = image[PIXELS.y, PIXELS.x]
    np.testing.assert_allclose(
        found[inside], expected[inside], atol=100 * eps * np.abs(expected).max()
    )


def test_half_a_turn_in_the_plane_conjugates(backend, eps):
    matrices = poses()
    turned = euler_to_matrix(0, 0, 180) @ matrices
    a, b = project(backend, matrices), project(backend, turned)
    inside = PIXELS.x**2 + PIXELS.y**2 < (BOX // 2) ** 2
    # Positions that differ by a rounding interpolate to values that differ by as much.
    atol = 2000 * eps * np.abs(a).max()
    np.testing.assert_allclose(b[:, inside], a[:, inside].conj(), atol=atol)


def test_a_quarter_turn_in_the_plane_turns_the_slice(backend, eps):
    matrices = poses()
    a = project(backend, matrices)
    b = project(backend, euler_to_matrix(0, 0, 90) @ matrices)
    # Image x after the turn is image y before: F'(x, y) = F(-y, x) and its Friedel mate.
    lookup = {(int(x), int(y)): k for k, (x, y) in enumerate(zip(PIXELS.x, PIXELS.y, strict=True))}
    atol = 2000 * eps * np.abs(a).max()
    for k, (x, y) in enumerate(zip(PIXELS.x, PIXELS.y, strict=True)):
        if np.hypot(x, y) >= BOX // 2:
            continue
        if (-y, x) in lookup:
            expected = a[:, lookup[-y, x]]
        else:
            expected = a[:, lookup[y, -x]].conj()
        np.testing.assert_allclose(b[:, k], expected, atol=atol)


def test_tilting_by_180_degrees_mirrors_the_image(backend, eps):
    # A(0, 180, 0) = diag(-1, 1, -1): seen from behind, x is reversed.
    a, b = project(backend, euler_to_matrix([0, 0], [0, 180], [0, 0]))
    lookup = {(int(x), int(y)): k for k, (x, y) in enumerate(zip(PIXELS.x, PIXELS.y, strict=True))}
    for k, (x, y) in enumerate(zip(PIXELS.x, PIXELS.y, strict=True)):
        if np.hypot(x, y) < BOX // 2 and (x, -y) in lookup:
            expected = a[lookup[x, -y]].conj()  # F'(x, y) = F(-x, y)
            np.testing.assert_allclose(b[k], expected, atol=2000 * eps * np.abs(a).max())


def test_nothing_lies_beyond_the_last_shell(backend):
    values = project(backend, poses(), r_max=10)
    radius = np.hypot(PIXELS.x, PIXELS.y)
    assert (values[:, radius > 10.001] == 0).all()
    assert (np.abs(values[:, radius < 9.999]).sum(axis=1) > 0).all()


def test_the_last_shell_counts_in_every_direction(backend):
    # Rounding of the rotation must not decide: the axes at Nyquist have a radius of r_max.
    maps = np.random.default_rng(3).normal(size=(1, BOX, BOX, BOX))
    references = backend.load_references(maps, BOX // 2, 2)
    values = backend.project(references, random_matrices(200, 2), PIXELS)
    on_edge = PIXELS.x**2 + PIXELS.y**2 == (BOX // 2) ** 2
    assert on_edge.sum() == 2
    assert (values[:, on_edge] != 0).all()


def test_fewer_shells_leave_the_inner_slice_as_it_is(backend, eps):
    whole, part = project(backend, poses()), project(backend, poses(), r_max=10)
    inner = np.hypot(PIXELS.x, PIXELS.y) < 9  # further out cells reach beyond the last shell
    np.testing.assert_allclose(part[:, inner], whole[:, inner], atol=10 * eps * np.abs(whole).max())


def test_classes_have_their_own_maps(backend):
    maps = np.stack([blob_map(BOX, spread=SPREAD), 2.0 * blob_map(BOX, spread=SPREAD)])
    references = backend.load_references(maps, BOX // 2, 2)
    one, two = (backend.project(references, poses(), PIXELS, k) for k in (0, 1))
    np.testing.assert_allclose(two, 2 * one, rtol=1e-4, atol=1e-4 * np.abs(one).max())


@pytest.mark.parametrize(("own_box", "own_pixel"), [(24, 3.0), (32, 4.0), (40, 2.1)])
def test_groups_with_another_box_are_met_at_their_own_frequencies(backend, own_box, own_pixel):
    groups = optics_groups((own_box,), (own_pixel,))
    pixels = image_geometry(groups, 0, BOX, 3.0, BOX, BOX)
    # The image's Fourier pixel in pixels of the model is the same spatial frequency.
    step = BOX * 3.0 / (own_box * own_pixel)
    kx, ky = step * pixels.x, step * pixels.y
    inside = np.hypot(kx, ky) < BOX // 2
    exact = blob_slices(BOX, poses(), kx, ky, spread=SPREAD)
    found = project(backend, poses(), pixels)
    assert error(found[:, inside], exact[:, inside]) < INTERPOLATION
    assert inside.sum() > 100
    np.testing.assert_array_equal(pixels.shell[inside], np.floor(np.hypot(kx, ky) + 0.5)[inside])


def test_single_precision_agrees_with_double(backend, eps):
    from relion_mpi.backend import select_backend

    a = project(backend, poses())
    b = project(select_backend("cpu", "float64"), poses())
    inside = PIXELS.x**2 + PIXELS.y**2 < (BOX // 2) ** 2
    np.testing.assert_allclose(a[:, inside], b[:, inside], atol=2000 * eps * np.abs(b).max())


def test_distances_of_slices_are_those_of_the_slices_themselves(backend, eps):
    rng = np.random.default_rng(8)
    box, n, n_trial = 16, 3, 4
    pixels = geometry(box)
    maps = rng.normal(size=(2, box, box, box))
    references = backend.load_references(maps, box // 2, 2)
    first = random_matrices(n, seed=1)
    second = random_matrices(n * n_trial, seed=2).reshape(n, n_trial, 3, 3)
    weight = rng.uniform(0.5, 2, (n, pixels.n_pix))
    found = backend.slice_distances(references, first, second, weight, pixels, 1)
    a = backend.project(references, first, pixels, 1)
    expected = np.empty((n, n_trial, pixels.n_shell))
    for t in range(n_trial):
        b = backend.project(references, second[:, t], pixels, 1)
        squared = weight * np.abs(a.astype(complex) - b) ** 2
        for i in range(n):
            expected[i, t] = np.bincount(pixels.shell, squared[i], pixels.n_shell)
    np.testing.assert_allclose(found, expected, rtol=0, atol=300 * eps * expected.max())
