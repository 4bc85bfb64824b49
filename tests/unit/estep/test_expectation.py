from dataclasses import replace

import numpy as np
import pytest
from factories.pixels import images_from
from factories.plans import BOX, batch, expectation

from relion_mpi.estep.geometry import ctf_parameters
from relion_mpi.estep.sums import HalfSums
from relion_mpi.fourier.shells import pixels_per_shell
from relion_mpi.geometry.euler import euler_to_matrix, matrix_to_euler, mean_axis_distance_deg
from relion_mpi.optics.ctf import ctf

SIGMA2 = 1e-3
"""Of the model; far below the signal."""


def at_grid_points(estep, n, seed=0, noise=0.0, reach=3):
    """Images at fine grid points around whole-pixel offsets: (images, batch, angles, origins)."""
    rng = np.random.default_rng(seed)
    geometry, grid = estep.group(0)
    particles = batch(n, seed)
    direction = rng.integers(len(grid.fine_direction), size=n)
    psi = rng.integers(grid.fine_psi_rad.size, size=n)
    matrices = estep.plan.orientations.fine_matrices(direction, psi)
    whole = rng.integers(-reach, reach + 1, (n, 2))
    shift = grid.fine_shift_pix[rng.integers(len(grid.fine_shift_pix), size=n)]
    values = estep.backend.project(estep.references[0], matrices, geometry).astype(complex)
    values *= ctf(ctf_parameters(estep.plan.optics, particles), geometry.freq_x, geometry.freq_y)
    # The origin centres the particle, so its image lies at minus that.
    lever = (whole + shift) @ np.stack([geometry.x, geometry.y])
    values *= np.exp(2j * np.pi / BOX * lever)
    images = images_from(values, geometry.x, geometry.y, BOX)
    images += noise * rng.normal(size=images.shape)
    origins = 3.0 * (whole + shift)
    particles = replace(particles, origin_angst=3.0 * whole + 0.4, origin_prior_angst=origins)
    return images.astype(np.float32), particles, matrices, origins


def run(estep, images, particles):
    sums = HalfSums(estep.backend, estep.plan, 0)
    return estep.run(estep.prepare(particles, images), sums), sums


def distance(result, matrices):
    found = euler_to_matrix(*result.euler_deg.T)
    return mean_axis_distance_deg(found, matrices, np.eye(3)[None])


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_noise_free_images_at_grid_points_are_found_exactly(precision):
    estep = expectation(SIGMA2, precision=precision, correct_norm=False)
    images, particles, matrices, origins = at_grid_points(estep, 6)
    result, sums = run(estep, images, particles)
    assert result.max_value_prob.min() > 0.99
    assert distance(result, matrices).max() < 1e-3
    np.testing.assert_allclose(result.origin_angst, origins, atol=1e-9)
    assert (result.class_number == 1).all()
    assert sums.statistics.n_particles == 6


def test_a_local_search_around_the_truth_finds_it():
    estep = expectation(SIGMA2, local_sigma_deg=20.0, correct_norm=False)
    images, particles, matrices, _ = at_grid_points(estep, 6, seed=1)
    truth = matrix_to_euler(matrices)
    near = replace(particles, euler_deg=truth + 3.0, prior_euler_deg=truth + 3.0)
    result, _ = run(estep, images, near)
    assert distance(result, matrices).max() < 1e-3


def test_residuals_are_the_noise_of_the_images():
    noise = 3.0
    variance = noise**2 / (2 * BOX**2)
    # No mask and no recentring: both take noise away.
    estep = expectation(variance, correct_norm=False, mask_edge_pix=1.0)
    plan = replace(estep.plan, images=replace(estep.plan.images, particle_diameter_angst=300.0))
    estep.plan = plan
    images, particles, _, _ = at_grid_points(estep, 60, seed=2, noise=noise, reach=0)
    _, sums = run(estep, images, particles)
    s = sums.statistics
    sigma2 = s.noise[0] / (2 * s.optics_weight[0] * pixels_per_shell(BOX))
    np.testing.assert_allclose(sigma2[3:16], variance, rtol=0.15)
    assert abs(sigma2[3:16].mean() / variance - 1) < 0.06


def test_the_norm_is_the_deviation_of_the_residual():
    noise = 3.0
    estep = expectation(noise**2 / (2 * BOX**2), mask_edge_pix=1.0)
    estep.plan = replace(
        estep.plan, images=replace(estep.plan.images, particle_diameter_angst=300.0)
    )
    images, particles, _, _ = at_grid_points(estep, 30, seed=3, noise=noise, reach=0)
    result, _ = run(estep, images, particles)
    # Pixels in the corners of Fourier space do not count: pi / 4 of them do.
    expected = noise * np.sqrt(np.pi / 4)
    assert result.norm_correction.mean() == pytest.approx(expected, rel=0.04)


def test_sums_do_not_depend_on_how_particles_are_batched():
    estep = expectation(3.0**2 / (2 * BOX**2))
    images, particles, _, _ = at_grid_points(estep, 6, seed=4, noise=3.0)
    found = []
    for order in ([0, 1, 2, 3, 4, 5], [4, 2, 5, 0, 3, 1]):
        sums = HalfSums(estep.backend, estep.plan, 0)
        for i in order:
            one = estep.prepare(particles.part(slice(i, i + 1)), images[i : i + 1])
            estep.run(one, sums)
        found.append(sums.arrays())
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_batch_too_large_for_the_memory_is_done_in_parts():
    estep = expectation(SIGMA2)
    images, particles, _, _ = at_grid_points(estep, 5, noise=0.1)
    whole, expected = run(estep, images, particles)
    do = estep.backend.prepare
    asked = []

    def short_of_memory(images, *rest):
        asked.append(len(images))
        if len(images) > 2:
            raise MemoryError
        return do(images, *rest)

    estep.backend.prepare = short_of_memory
    parts, found = run(estep, images, particles)
    assert asked == [5, 2, 3, 1, 2]
    for name in ("euler_deg", "origin_angst", "n_significant", "max_value_prob"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name))
    # What a batch adds is rounded to steps far below float32.
    np.testing.assert_allclose(found.statistics.packed(), expected.statistics.packed(), rtol=1e-7)


def test_a_batch_that_was_added_is_not_done_again_in_parts(monkeypatch):
    estep = expectation(SIGMA2)
    images, particles, _, _ = at_grid_points(estep, 4, noise=0.1)
    asked = []

    def short_of_memory(prepared, *_):
        asked.append(prepared.batch.n_img)
        raise MemoryError

    monkeypatch.setattr(estep, "_conclude", short_of_memory)
    with pytest.raises(MemoryError):
        run(estep, images, particles)
    assert asked == [4]
