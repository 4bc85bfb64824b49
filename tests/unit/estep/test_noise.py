import numpy as np
import pytest
from factories.optics import optics_groups

from relion_mpi.estep.initial_noise import (
    PowerSums,
    halved_averages,
    initial_sigma2_noise,
    power_sums,
)
from relion_mpi.estep.noise_fill import noise_images
from relion_mpi.estep.plan import ImageOptions
from relion_mpi.fourier.shells import half_transform_shells
from relion_mpi.model.compat import RELION3

BOX, N_SHELL = 32, 17


def measured(images):
    """Variance per component and shell."""
    shells = half_transform_shells(BOX)
    power = (np.abs(np.fft.rfft2(images)) ** 2).mean(axis=0) / BOX**4 / 2
    keep = (shells >= 0) & (np.arange(BOX // 2 + 1) > 0) & (np.arange(BOX // 2 + 1) < BOX // 2)
    count = np.bincount(shells[keep], minlength=N_SHELL)
    return np.bincount(shells[keep], power[keep], N_SHELL) / np.maximum(count, 1)


def test_noise_images_have_the_given_spectrum():
    sigma2 = np.linspace(3.0, 1.0, N_SHELL)
    images = noise_images(sigma2, half_transform_shells(BOX), np.arange(400), (1, 2))
    # Shell 3 has some 8 complex coefficients an image: 1 / sqrt(400 * 8) is 2 %.
    np.testing.assert_allclose(measured(images)[3:16], sigma2[3:16], rtol=0.08)


def test_noise_depends_on_the_particle_and_not_on_its_batch():
    shells, sigma2 = half_transform_shells(BOX), np.ones(N_SHELL)
    together = noise_images(sigma2, shells, np.array([7, 3, 9]), (1, 2))
    alone = noise_images(sigma2, shells, np.array([9]), (1, 2))
    np.testing.assert_array_equal(together[2], alone[0])
    assert not np.array_equal(together[0], together[1])


def test_noise_changes_with_the_seed():
    shells, sigma2, rows = half_transform_shells(BOX), np.ones(N_SHELL), np.array([4])
    first, second = (noise_images(sigma2, shells, rows, (1, i)) for i in (1, 2))
    assert not np.array_equal(first, second)


def white(n, variance, seed=0, boxes=BOX):
    rng = np.random.default_rng(seed)
    return rng.normal(0, np.sqrt(variance), (n, boxes, boxes)).astype(np.float32)


@pytest.mark.parametrize("zero_mask", [False, True])
def test_white_noise_has_half_its_variance_per_component(zero_mask):
    options = ImageOptions(particle_diameter_angst=1000.0, zero_mask=zero_mask)
    images = white(300, 4.0)
    sums = power_sums(images, optics_groups(), 0, BOX * 3.0, N_SHELL, options)
    sigma2 = initial_sigma2_noise(sums, 3.0, BOX * 3.0)
    np.testing.assert_allclose(sigma2[2:], 4.0 / (2 * BOX**2), rtol=0.1)


def test_power_of_the_average_is_taken_away():
    options = ImageOptions(particle_diameter_angst=1000.0)
    common = 5.0 * white(1, 1.0, seed=1)
    sums = power_sums(white(300, 1.0) + common, optics_groups(), 0, BOX * 3.0, N_SHELL, options)
    sigma2 = initial_sigma2_noise(sums, 3.0, BOX * 3.0)
    np.testing.assert_allclose(sigma2[3:], 1.0 / (2 * BOX**2), rtol=0.15)


def test_sums_of_batches_add():
    options, images = ImageOptions(particle_diameter_angst=60.0), white(6, 1.0)
    groups = optics_groups()
    whole = power_sums(images, groups, 0, BOX * 3.0, N_SHELL, options)
    both = power_sums(images[:2], groups, 0, BOX * 3.0, N_SHELL, options) + power_sums(
        images[2:], groups, 0, BOX * 3.0, N_SHELL, options
    )
    np.testing.assert_allclose(both.power, whole.power)
    np.testing.assert_allclose(both.average, whole.average)
    assert both.n_img == 6


def test_the_background_is_measured_outside_the_particle():
    images = white(50, 4.0) + 3.0
    images[:, 12:20, 12:20] += 100.0
    options = ImageOptions(particle_diameter_angst=60.0)
    sums = power_sums(images, optics_groups(), 0, BOX * 3.0, N_SHELL, options)
    np.testing.assert_allclose(sums.background / 50, [3.0, 2.0], rtol=0.02)


def test_masking_with_zeros_lowers_the_power():
    groups, images = optics_groups(), white(50, 1.0)
    power = [
        power_sums(images, groups, 0, BOX * 3.0, N_SHELL, ImageOptions(48.0, zero_mask=z)).power
        for z in (False, True)
    ]
    # A disc of 8 pixels radius and its edge hold a quarter or so of 32 x 32 pixels.
    assert 0.15 < power[1][4:].sum() / power[0][4:].sum() < 0.35


def test_a_finer_pixel_size_maps_onto_the_models_shells():
    # A box of 32 x 1.5 Angstrom in a model of 96: radii double. No pixel lies 0.25 to 0.75 or 2.25
    # to 2.75 from the origin, so shells 1 and 5 are empty and take their neighbour's value.
    options = ImageOptions(particle_diameter_angst=1000.0, zero_mask=False)
    sums = power_sums(white(50, 1.0), optics_groups(pixels=(1.5,)), 0, 96.0, N_SHELL, options)
    assert np.flatnonzero(sums.power == 0).tolist() == [1, 5]
    sigma2 = initial_sigma2_noise(sums, 1.5, 96.0)
    assert (sigma2 > 0).all()


def test_relion_s_first_noise_counts_the_duplicated_column():
    options = ImageOptions(particle_diameter_angst=1000.0, zero_mask=False, compat=RELION3)
    images = white(3, 1.0).astype(np.float64)
    found = power_sums(images, optics_groups(), 0, BOX * 3.0, N_SHELL, options).power
    power = (np.abs(np.fft.rfft2(images)) ** 2).sum(axis=0) / BOX**4
    # Shell 1 of the half transform: (1, 0), (1, 1), (1, -1), (0, 1) and (0, -1).
    expected = (power[0, 1] + power[1, 1] + power[-1, 1] + power[1, 0] + power[-1, 0]) / 5
    np.testing.assert_allclose(found[1], expected)


def test_relion_s_half_sets_share_one_average():
    def sums(value, n):
        return PowerSums(np.ones(N_SHELL), np.full((4, 4), value * n), n, np.zeros(2))

    found = halved_averages({(0, 0): sums(1.0, 2), (0, 1): sums(3.0, 2), (1, 0): sums(5.0, 4)})
    np.testing.assert_allclose(found[0], (2 + 6 + 20) / 2 / 4)
    np.testing.assert_allclose(found[1], (2 + 6 + 20) / 2 / 4)
