from dataclasses import replace

import numpy as np
import pytest
from factories.pixels import images_from
from factories.plans import BOX, batch, expectation

from relion_mpi.estep.expectation import Expectation
from relion_mpi.estep.geometry import ctf_parameters
from relion_mpi.estep.sums import HalfSums
from relion_mpi.geometry.euler import directions, euler_to_matrix
from relion_mpi.optics.ctf import ctf

PIXEL = 3.0
PRIOR = np.array([0.5, 0.2, 0.3])


def estep_of(variance, **changes):
    """Three classes of unequal size whose poses are known."""
    made = expectation(
        variance, n_class=3, skip_align=True, correct_norm=False, **changes
    )
    half = made.plan.halves[0]
    pdf = PRIOR[:, None] * half.pdf_direction * 3
    plan = replace(made.plan, halves=(replace(half, pdf_direction=pdf),))
    return Expectation(made.backend, plan, made.references)


def projections(estep, particles, classes):
    """Images of classes at the particles' own poses, and their coefficients at the centre."""
    geometry, _ = estep.group(0)
    matrices = euler_to_matrix(*particles.euler_deg.T)
    centred = np.stack([
        estep.backend.project(estep.references[0], matrices[[i]], geometry, int(k))[0]
        for i, k in enumerate(classes)
    ]).astype(complex)  # fmt: skip
    centred *= ctf(ctf_parameters(estep.plan.optics, particles), geometry.freq_x, geometry.freq_y)
    lever = particles.origin_angst / PIXEL @ np.stack([geometry.x, geometry.y])
    shifted = centred * np.exp(2j * np.pi / BOX * lever)
    return images_from(shifted, geometry.x, geometry.y, BOX), centred


def made(estep, n, seed=0, noise=0.0):
    """Images of random classes at random poses, offsets in parts of a pixel."""
    rng = np.random.default_rng(seed)
    particles = replace(batch(n, seed), origin_angst=rng.uniform(-6, 6, (n, 2)))
    classes = rng.integers(3, size=n)
    images, _ = projections(estep, particles, classes)
    images += noise * rng.normal(size=images.shape)
    return images.astype(np.float32), particles, classes


def run(estep, images, particles):
    sums = HalfSums(estep.backend, estep.plan, 0)
    found = estep.run(estep.prepare(particles, images), sums)
    return found, sums.arrays()[0], sums.statistics


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_classes_are_found_and_poses_stay_as_they_are(precision):
    estep = estep_of(1e-3, precision=precision)
    images, particles, classes = made(estep, 9)
    found, _, statistics = run(estep, images, particles)
    np.testing.assert_array_equal(found.class_number, classes + 1)
    np.testing.assert_array_equal(found.euler_deg, particles.euler_deg)
    np.testing.assert_array_equal(found.origin_angst, particles.origin_angst)
    assert found.max_value_prob.min() > 0.99
    assert (found.n_significant == 1).all()
    np.testing.assert_allclose(statistics.class_weight, np.bincount(classes, minlength=3))


def test_the_posterior_is_that_of_the_likelihoods_and_the_class_priors():
    noise = 20.0
    variance = noise**2 / (2 * BOX**2)
    estep = estep_of(variance)
    open_mask = replace(estep.plan.images, particle_diameter_angst=1000.0)
    estep.plan = replace(estep.plan, images=open_mask)
    images, particles, _ = made(estep, 6, seed=1, noise=noise)
    # Within half a pixel: whole pixels would leave the image.
    rng = np.random.default_rng(2)
    particles = replace(particles, origin_angst=rng.uniform(-1.4, 1.4, (6, 2)))
    found, _, statistics = run(estep, images, particles)
    geometry, _ = estep.group(0)
    ft = np.fft.fft2(np.fft.ifftshift(images.astype(float), axes=(1, 2))) / BOX**2
    lever = particles.origin_angst / PIXEL @ np.stack([geometry.x, geometry.y])
    seen = ft[:, geometry.y, geometry.x] * np.exp(-2j * np.pi / BOX * lever)
    use = geometry.shell > 0
    score = np.empty((6, 3))
    for k in range(3):
        _, predicted = projections(estep, particles, np.full(6, k))
        misfit = np.abs(seen - predicted)[:, use] ** 2
        score[:, k] = np.log(PRIOR[k]) - misfit.sum(axis=1) / (2 * variance)
    weight = np.exp(score - np.logaddexp.reduce(score, axis=1)[:, None])
    assert ((weight > 0.05).sum(axis=1) > 1).sum() >= 3  # there is something to share
    np.testing.assert_allclose(found.max_value_prob, weight.max(axis=1), atol=1e-5)
    np.testing.assert_array_equal(found.class_number, weight.argmax(axis=1) + 1)
    np.testing.assert_allclose(statistics.class_weight, weight.sum(axis=0), atol=6e-3)


def test_back_projection_takes_the_exact_pose():
    estep = estep_of(1e-3)
    images, particles, classes = made(estep, 5, seed=3)
    _, volume, _ = run(estep, images, particles)
    _, centred = projections(estep, particles, classes)
    # What is scattered is the image, centred, times its CTF: all shares add to the pixels' sum.
    geometry, _ = estep.group(0)
    values = ctf(ctf_parameters(estep.plan.optics, particles), geometry.freq_x, geometry.freq_y)
    sums = volume.reshape(3, -1, 3)
    for k in range(3):
        mine = classes == k
        expected = (centred * values)[mine].real.sum() / 1e-3
        size = np.abs(centred * values).sum() / 1e-3
        assert abs(sums[k, :, 0].sum() - expected) < 1e-3 * size
        weight = (values**2)[mine].sum() / 1e-3
        np.testing.assert_allclose(sums[k, :, 2].sum(), weight, rtol=1e-3)


def test_particles_are_counted_at_the_nearest_direction():
    estep = estep_of(1e-3)
    images, particles, classes = made(estep, 9, seed=4)
    _, _, statistics = run(estep, images, particles)
    grid = estep.plan.orientations
    views = directions(grid.rot_deg, grid.tilt_deg)
    mine = directions(*particles.euler_deg.T[:2])
    expected = np.zeros((3, grid.n_dir))
    np.add.at(expected, (classes, (mine @ views.T).argmax(axis=1)), 1.0)
    np.testing.assert_allclose(statistics.direction_weight, expected, atol=1e-6)


def test_offsets_count_whole():
    estep = estep_of(1e-3)
    images, particles, _ = made(estep, 4, seed=5)
    _, _, statistics = run(estep, images, particles)
    assert statistics.totals[0] == pytest.approx((particles.origin_angst**2).sum(), rel=1e-6)


def test_an_empty_class_takes_no_part():
    estep = estep_of(1e-3)
    half = estep.plan.halves[0]
    pdf = half.pdf_direction.copy()
    pdf[1] = 0.0
    plan = replace(estep.plan, halves=(replace(half, pdf_direction=pdf / pdf.sum()),))
    estep = Expectation(estep.backend, plan, estep.references)
    images, particles, _ = made(estep, 6, seed=6)
    found, _, statistics = run(estep, images, particles)
    assert set(found.class_number) <= {1, 3}
    assert statistics.class_weight[1] == 0


def test_parts_of_a_batch_give_the_sums_of_the_whole():
    estep = estep_of(1e-3)
    images, particles, _ = made(estep, 5, seed=7, noise=1.0)
    whole, volume, statistics = run(estep, images, particles)
    sums = HalfSums(estep.backend, estep.plan, 0)
    prepared = estep.prepare(particles, images)
    parts = [estep.run(prepared.chosen(rows), sums) for rows in (np.array([3, 0]), slice(1, 3))]
    parts.append(estep.run(prepared.chosen(np.array([4])), sums))
    np.testing.assert_array_equal(sums.arrays()[0], volume)
    # What a batch adds is rounded to steps far below float32.
    found = sums.statistics
    np.testing.assert_allclose(found.packed(), statistics.packed(), rtol=1e-7, atol=1e-4)
    joined = np.concatenate([part.log_likelihood for part in parts])
    np.testing.assert_allclose(joined, whole.log_likelihood[[3, 0, 1, 2, 4]])
