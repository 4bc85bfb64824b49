import numpy as np
import pytest
from factories.sums import projected_sums, random_sums

from relion_mpi.fourier.correlation import fourier_shell_correlation
from relion_mpi.mstep.reconstruct import reconstruct
from relion_mpi.mstep.spectra import (
    half_set_fsc,
    reconstruction_noise,
    reference_tau2,
    spectra_from_fsc,
    spectra_from_prior,
)


def test_a_half_set_correlates_with_itself():
    sums = random_sums(box=16, r_max=6)
    fsc = half_set_fsc(sums, sums)
    np.testing.assert_allclose(fsc[:7], 1.0)
    assert (fsc[7:] == 0).all()


def test_independent_half_sets_do_not_correlate():
    fsc = half_set_fsc(random_sums(box=16, r_max=8, seed=1), random_sums(box=16, r_max=8, seed=2))
    assert np.abs(fsc[4:]).max() < 0.3


def test_the_fsc_of_sums_is_that_of_their_maps():
    halves = []
    for seed in (3, 30):
        _, sums = projected_sums(n=150, seed=seed, noise=3.0)
        sums.backend.enforce_friedel(sums)
        halves.append(sums)
    of_sums = half_set_fsc(*halves)
    maps = [reconstruct(sums, None) for sums in halves]
    of_maps = fourier_shell_correlation(*maps)
    assert of_maps[9] < 0.7  # noise matters
    # Binning averages the padded grid instead of cropping the box: not the same estimator.
    np.testing.assert_allclose(of_sums[:10], of_maps[:10], atol=0.15)


def test_low_resolution_is_joined_and_the_rest_is_not():
    first, second = random_sums(seed=4), random_sums(seed=5)
    before = first.copy(), second.copy()
    first.backend.join_low_resolution(first, second, 3)
    inside = first.radius2() <= 36
    np.testing.assert_array_equal(first.data[inside], second.data[inside])
    mean = 0.5 * (before[0].weight + before[1].weight)
    np.testing.assert_allclose(first.weight[inside], mean[inside])
    np.testing.assert_array_equal(first.data[~inside], before[0].data[~inside])
    np.testing.assert_array_equal(second.weight[~inside], before[1].weight[~inside])


def test_joined_shells_have_a_correlation_of_one():
    first, second = random_sums(seed=6), random_sums(seed=7)
    first.backend.join_low_resolution(first, second, 3)
    fsc = half_set_fsc(first, second)
    np.testing.assert_allclose(fsc[:3], 1.0)  # the bins of shell 3 reach beyond it
    assert fsc[5] < 0.9


def constant_weight(value, box=16, r_max=8):
    sums = random_sums(box, r_max, seed=8)
    sums.weight[...] = np.where(sums.radius2() <= sums.reach**2, value, 0.0)
    return sums


def test_reconstruction_noise_is_one_over_the_mean_weight():
    noise = reconstruction_noise(constant_weight(5.0))
    # A voxel of the map's transform holds the weights of padding^3 = 8 voxels.
    np.testing.assert_allclose(noise, 1 / (8 * 5.0))


def test_shells_without_data_have_no_noise_estimate():
    noise = reconstruction_noise(random_sums(box=20, r_max=6))
    assert (noise[8:] == 0).all()


@pytest.mark.parametrize("fudge", [1.0, 4.0])
def test_the_prior_follows_from_the_fsc(fudge):
    sums, fsc = constant_weight(5.0), np.linspace(0.9, 0.1, 9)
    spectra = spectra_from_fsc(sums, fsc, fudge, joined=False)
    ssnr = fudge * fsc / (1 - fsc)
    np.testing.assert_allclose(spectra.data_vs_prior, ssnr)
    np.testing.assert_allclose(spectra.tau2, ssnr / 40.0)


def test_the_fsc_of_halves_is_converted_for_all_data():
    sums, fsc = constant_weight(5.0), np.full(9, 1 / 3)
    spectra = spectra_from_fsc(sums, fsc, 1.0, joined=True)
    full = np.sqrt(2 / 3 / (4 / 3))
    np.testing.assert_allclose(spectra.data_vs_prior, full / (1 - full))


def test_extreme_correlations_are_clipped():
    spectra = spectra_from_fsc(
        constant_weight(5.0), np.array([1.0, -0.5] + [0.5] * 7), 1.0, joined=False
    )
    assert spectra.data_vs_prior[0] == pytest.approx(0.999 / 0.001)
    assert spectra.data_vs_prior[1] == pytest.approx(0.001 / 0.999)


def test_shells_beyond_the_data_have_no_signal():
    sums = random_sums(box=20, r_max=6)
    spectra = spectra_from_fsc(sums, np.full(11, 0.9), 1.0, joined=False)
    assert (spectra.data_vs_prior[7:] == 0).all()


def test_coverage_is_the_share_of_voxels_that_outweigh_the_prior():
    sums = constant_weight(5.0)
    x = np.arange(sums.data.shape[2])
    sums.weight[:, :, x % 2 == 0] *= 0.01
    spectra = spectra_from_fsc(sums, np.full(9, 0.5), 1.0, joined=False)
    # tau2 = 1 / mean weight: exactly the voxels that kept their weight outweigh it.
    assert 0.4 < spectra.coverage[7] < 0.6


def test_white_noise_has_the_same_power_in_every_shell():
    box, variance = 32, 3.0
    volume = np.random.default_rng(9).normal(scale=np.sqrt(variance), size=(box,) * 3)
    # A transform divided by box^3 has variance / box^3 a voxel; images have box^2 of it, halved.
    tau2 = reference_tau2(volume)
    assert tau2.shape == (17,)
    np.testing.assert_allclose(tau2[3:], variance / (2 * box), rtol=0.12)
    assert tau2[8:].mean() == pytest.approx(variance / (2 * box), rel=0.02)


def test_a_wave_has_its_power_in_its_shell():
    box = 16
    wave = 2.0 * np.cos(2 * np.pi * 3 * np.arange(box) / box)
    tau2 = reference_tau2(np.broadcast_to(wave, (box,) * 3))
    assert np.flatnonzero(tau2 > 1e-12).tolist() == [3]


@pytest.mark.parametrize("fudge", [1.0, 4.0])
def test_the_signal_to_noise_ratio_of_a_known_prior_is_their_quotient(fudge):
    tau2 = np.linspace(0.2, 0.01, 9)
    spectra = spectra_from_prior(constant_weight(5.0), tau2, fudge)
    np.testing.assert_allclose(spectra.data_vs_prior, 40.0 * fudge * tau2)
    np.testing.assert_allclose(spectra.sigma2, 1 / 40.0)
    np.testing.assert_array_equal(spectra.coverage, 40.0 * fudge * tau2 >= 1)


def test_a_known_prior_says_nothing_beyond_the_data():
    spectra = spectra_from_prior(random_sums(box=20, r_max=6), np.ones(11), 1.0)
    assert (spectra.data_vs_prior[7:] == 0).all()
    assert (spectra.data_vs_prior[:7] > 0).all()
