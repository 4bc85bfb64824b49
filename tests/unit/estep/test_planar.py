"""The E-step with 2D references."""

from dataclasses import replace

import numpy as np
import pytest
from factories.maps import blob_image
from factories.pixels import images_from
from factories.plans import BOX, batch, expectation

from relion_mpi.estep.accuracy import expected_accuracies
from relion_mpi.estep.geometry import ctf_parameters
from relion_mpi.estep.sums import HalfSums
from relion_mpi.fourier.shells import pixels_per_shell
from relion_mpi.geometry.euler import euler_to_matrix, matrix_to_euler
from relion_mpi.mstep.planes import average_planes
from relion_mpi.optics.ctf import ctf

PIXEL, SIGMA2 = 3.0, 1e-3


def expected_accuracy(estep, particles, k=0):
    """Of one class."""
    return expected_accuracies(estep, particles, (k,))[0]


def planar(variance=SIGMA2, **changes):
    return expectation(variance, planar=True, correct_norm=False, **changes)


def images_at(estep, particles, psi_deg, classes, origin_pix):
    """Noise-free images of classes turned by psi, with the origins to be found."""
    geometry, _ = estep.group(0)
    matrices = euler_to_matrix(0, 0, psi_deg)
    values = np.stack([
        estep.backend.project(estep.references[0], matrices[[i]], geometry, int(k))[0]
        for i, k in enumerate(classes)
    ]).astype(complex)  # fmt: skip
    values *= ctf(ctf_parameters(estep.plan.optics, particles), geometry.freq_x, geometry.freq_y)
    values *= np.exp(2j * np.pi / BOX * origin_pix @ np.stack([geometry.x, geometry.y]))
    return images_from(values, geometry.x, geometry.y, BOX)


def planted(estep, n, seed=0, noise=0.0, reach=3):
    """Images at fine grid points: (images, batch, psi, classes, origins)."""
    rng = np.random.default_rng(seed)
    _, grid = estep.group(0)
    psi = matrix_to_euler(
        estep.plan.orientations.fine_matrices(
            np.zeros(n, int), rng.integers(grid.fine_psi_rad.size, size=n)
        )
    )[:, 2]
    classes = rng.integers(estep.plan.halves[0].pdf_direction.shape[0], size=n)
    whole = rng.integers(-reach, reach + 1, (n, 2))
    origin = whole + grid.fine_shift_pix[rng.integers(len(grid.fine_shift_pix), size=n)]
    particles = replace(
        batch(n, seed), origin_angst=PIXEL * whole + 0.4, origin_prior_angst=PIXEL * origin
    )
    images = images_at(estep, particles, psi, classes, origin)
    images += noise * rng.normal(size=images.shape)
    return images.astype(np.float32), particles, psi, classes, PIXEL * origin


def run(estep, images, particles):
    sums = HalfSums(estep.backend, estep.plan, 0)
    found = estep.run(estep.prepare(particles, images), sums)
    return found, sums.arrays()[0].reshape(len(estep.plan.halves[0].pdf_direction), -1, 3), sums


def apart_deg(a, b):
    return np.abs((a - b + 180) % 360 - 180)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_planted_angles_shifts_and_classes_are_found(precision):
    estep = planar(n_class=3, precision=precision)
    images, particles, psi, classes, origins = planted(estep, 9)
    found, rows, sums = run(estep, images, particles)
    assert found.max_value_prob.min() > 0.99
    np.testing.assert_array_equal(found.class_number, classes + 1)
    np.testing.assert_array_equal(found.euler_deg[:, :2], 0.0)
    assert apart_deg(found.euler_deg[:, 2], psi).max() < 1e-6
    np.testing.assert_allclose(found.origin_angst, origins, atol=1e-9)
    counts = np.bincount(classes, minlength=3)
    np.testing.assert_allclose(sums.statistics.class_weight, counts, atol=0.05)
    np.testing.assert_allclose(sums.statistics.direction_weight[:, 0], counts, atol=0.05)
    assert rows.shape == (3, 67 * 34, 3)


def test_residuals_are_the_noise_of_the_images():
    noise = 3.0
    variance = noise**2 / (2 * BOX**2)
    estep = planar(variance, mask_edge_pix=1.0)
    estep.plan = replace(
        estep.plan, images=replace(estep.plan.images, particle_diameter_angst=300.0)
    )
    images, particles, _, _, _ = planted(estep, 60, seed=2, noise=noise, reach=0)
    _, _, sums = run(estep, images, particles)
    s = sums.statistics
    sigma2 = s.noise[0] / (2 * s.optics_weight[0] * pixels_per_shell(BOX))
    assert abs(sigma2[3:16].mean() / variance - 1) < 0.06


def test_sums_do_not_depend_on_how_particles_are_batched():
    estep = planar(3.0**2 / (2 * BOX**2), n_class=2)
    images, particles, _, _, _ = planted(estep, 6, seed=4, noise=3.0)
    found = []
    for order in ([0, 1, 2, 3, 4, 5], [4, 2, 5, 0, 3, 1]):
        sums = HalfSums(estep.backend, estep.plan, 0)
        for i in order:
            one = estep.prepare(particles.part(slice(i, i + 1)), images[i : i + 1])
            estep.run(one, sums)
        found.append(sums.arrays())
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_without_alignment_classes_are_found_at_the_exact_angle():
    estep = planar(n_class=3, skip_align=True)
    rng = np.random.default_rng(5)
    n, origin = 9, rng.uniform(-2, 2, (9, 2))
    classes = rng.integers(3, size=n)
    # Angles of views, as from a 3D refinement, mean nothing to images.
    particles = replace(batch(n), origin_angst=PIXEL * origin)
    psi = particles.euler_deg[:, 2]
    images = images_at(estep, particles, psi, classes, origin).astype(np.float32)
    found, _, sums = run(estep, images, particles)
    np.testing.assert_array_equal(found.class_number, classes + 1)
    assert found.max_value_prob.min() > 0.99
    np.testing.assert_array_equal(found.euler_deg[:, :2], 0.0)
    np.testing.assert_array_equal(found.euler_deg[:, 2], psi)
    np.testing.assert_array_equal(found.origin_angst, particles.origin_angst)
    np.testing.assert_allclose(
        sums.statistics.direction_weight[:, 0], np.bincount(classes, minlength=3), atol=1e-6
    )


def shell_correlation(first, second):
    a, b = (np.fft.fft2(one) for one in (first, second))
    axis = np.fft.fftfreq(BOX, 1 / BOX)
    shell = np.rint(np.hypot(axis[:, None], axis)).astype(int).ravel()
    cross, one, two = (
        np.bincount(shell, part.ravel().real)[: BOX // 2]
        for part in (a * b.conj(), abs(a) ** 2, abs(b) ** 2)
    )
    return cross / np.sqrt(one * two)


@pytest.mark.parametrize("skip_gridding", [True, False])
def test_averages_of_turned_images_give_the_image_back(skip_gridding):
    estep, n = planar(skip_align=True, n_class=2), 60
    particles = replace(batch(n, 6), origin_angst=np.zeros((n, 2)))
    classes = np.arange(n) % 2
    images = images_at(estep, particles, particles.euler_deg[:, 2], classes, np.zeros((n, 2)))
    _, rows, _ = run(estep, images.astype(np.float32), particles)
    found = average_planes(rows, BOX, BOX // 2, 2, skip_gridding=skip_gridding)
    for k in range(2):
        truth = blob_image(BOX, k)
        fsc = shell_correlation(found[k], truth)
        assert fsc[1:11].min() > 0.99
        scale = (found[k] * truth).sum() / (truth * truth).sum()
        # Rings of samples lie two voxels apart: without gridding they are smeared.
        assert abs(scale - 1) < (0.08 if skip_gridding else 0.03)


def test_accuracy_is_told_by_rotations_in_the_plane_only():
    estep = planar(0.02)
    particles = batch(20, 7)
    found = expected_accuracy(estep, particles)
    flat = replace(particles, euler_deg=particles.euler_deg * [0, 0, 1])
    again = expected_accuracy(estep, flat)
    assert found.rotation_deg == again.rotation_deg
    assert found.translation_angst == again.translation_angst
    assert 0 < found.rotation_deg < 30
    # Less noise, better accuracy.
    better = expected_accuracy(planar(0.0002), particles)
    assert better.rotation_deg < found.rotation_deg
