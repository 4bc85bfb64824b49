import numpy as np
import pytest
from factories.maps import blob_map

from relion_mpi.fourier.correlation import fourier_shell_correlation
from relion_mpi.fourier.masks import soft_sphere
from relion_mpi.mstep.solvent import flatten, spherical_mask
from relion_mpi.mstep.solvent_fsc import solvent_corrected_fsc

BOX = 32


def test_the_sphere_has_the_particles_diameter():
    mask = spherical_mask(BOX, 2.0, 32.0, 4.0)
    assert mask[16, 16, 16 + 7] == 1
    assert mask[16, 16, 16 + 10] == pytest.approx(0.5)
    assert mask[16, 16, 16 + 13] == 0


def test_flattening_sets_the_solvent_to_zero():
    mask = spherical_mask(BOX, 2.0, 32.0, 4.0)
    flat = flatten(np.ones((BOX,) * 3), mask)
    np.testing.assert_array_equal(flat, mask)


def test_an_inner_mask_holds_its_mean():
    rng = np.random.default_rng(0)
    volume, mask = rng.normal(size=(8, 8, 8)), np.ones((8, 8, 8))
    inner = np.zeros_like(mask)
    inner[2:5, 2:5, 2:5] = 1
    flat = flatten(volume, mask, inner)
    np.testing.assert_allclose(flat[2:5, 2:5, 2:5], volume[2:5, 2:5, 2:5].mean())
    np.testing.assert_array_equal(flat[inner == 0], volume[inner == 0])


def halves(noise):
    signal = blob_map(BOX, 3, spread=0.12)
    rng = np.random.default_rng(4)
    return [signal + rng.normal(0, noise, signal.shape) for _ in range(2)]


def test_noise_under_a_tight_mask_does_not_count_as_signal():
    rng = np.random.default_rng(5)
    first, second = (rng.normal(size=(BOX,) * 3) for _ in range(2))
    common = blob_map(BOX, 3, sigma_pix=6.0) * 3.0  # so that the low shells agree
    tight = soft_sphere(BOX, 4.0, 2.0, 3)
    corrected = solvent_corrected_fsc(first + common, second + common, tight, 0)
    masked = fourier_shell_correlation((first + common) * tight, (second + common) * tight)
    assert np.abs(masked[8:]).max() > 0.1
    assert np.abs(corrected[10:].mean()) < 0.25
    assert corrected[1] > 0.9


def test_a_mask_around_the_particle_raises_the_curve():
    first, second = halves(0.3)
    corrected = solvent_corrected_fsc(first, second, soft_sphere(BOX, 9.0, 3.0, 3), 0)
    plain = fourier_shell_correlation(first, second)
    assert corrected[4:8].mean() > plain[4:8].mean() + 0.03


def test_perfect_half_maps_keep_their_unmasked_curve():
    first, _ = halves(0.0)
    corrected = solvent_corrected_fsc(first, first, soft_sphere(BOX, 9.0, 3.0, 3), 0)
    np.testing.assert_allclose(corrected, 1.0)


def test_the_same_seed_gives_the_same_curve():
    first, second = halves(0.3)
    mask = soft_sphere(BOX, 9.0, 3.0, 3)
    a, b = (solvent_corrected_fsc(first, second, mask, 7) for _ in range(2))
    np.testing.assert_array_equal(a, b)
