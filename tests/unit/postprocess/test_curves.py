from __future__ import annotations

import numpy as np
import pytest

from relion_mpi.fourier.masks import soft_sphere
from relion_mpi.fourier.sections import transform_correlation
from relion_mpi.postprocess.curves import (
    corrected_fsc,
    fsc_within_particle,
    half_transform,
    randomised_masked_fsc,
    shell_of_resolution,
    shell_resolutions,
    volume_of,
)

BOX = 32


def test_what_a_mask_correlates_in_noise_is_taken_out():
    rng = np.random.default_rng(0)
    # The level that both share gives both the transform of the mask, which has fine detail.
    halves = [(rng.normal(size=(BOX,) * 3) + 1.0).astype(np.float32) for _ in range(2)]
    mask = (soft_sphere(BOX, 10.0, 1.0, 3) * rng.integers(0, 2, (BOX,) * 3)).astype(np.float32)
    masked = transform_correlation(*(half_transform(half * mask) for half in halves))
    transforms = [half_transform(half) for half in halves]
    random = randomised_masked_fsc(transforms, mask, 1, np.random.default_rng(1))
    corrected = corrected_fsc(masked, random, 1)
    assert masked[10:].min() > 0.2
    assert np.abs(corrected[10:]).max() < 0.1
    assert abs(corrected[10:].mean()) < 0.03
    assert transforms == []  # memory is given back


def test_the_correction_begins_two_shells_beyond_the_first_random_one():
    masked, random = np.linspace(1.0, 0.1, 10), np.full(10, 0.05)
    corrected = corrected_fsc(masked, random, 3)
    np.testing.assert_array_equal(corrected[:5], masked[:5])
    np.testing.assert_allclose(corrected[5:], (masked[5:] - 0.05) / 0.95)


def test_a_corrected_curve_may_fall_below_zero():
    assert corrected_fsc(np.full(6, 0.1), np.full(6, 0.2), 1)[4] == pytest.approx(-0.125)


def test_the_curve_within_the_particle_counts_less_solvent():
    fsc = np.array([1.0, 0.5, 0.0])
    np.testing.assert_allclose(fsc_within_particle(fsc, 1.0), fsc)
    np.testing.assert_allclose(fsc_within_particle(fsc, 2.0), [1.0, 2 / 3, 0.0])


def test_the_resolution_is_the_last_shell_before_the_first_fall():
    assert shell_of_resolution(np.array([1.0, 0.9, 0.2, 0.1, 0.9])) == 2
    assert shell_of_resolution(np.array([1.0, 0.9, 0.5])) == 2
    assert shell_of_resolution(np.array([0.0, 0.0])) == 0


def test_shells_have_the_resolution_of_their_index():
    np.testing.assert_allclose(shell_resolutions(8, 1.5), [999.0, 12.0, 6.0, 4.0, 3.0])


def test_a_map_survives_its_transform():
    volume = np.random.default_rng(2).normal(size=(BOX,) * 3).astype(np.float32)
    transform = half_transform(volume)
    assert transform.dtype == np.complex64
    assert transform[0, 0, 0].real == pytest.approx(volume.mean(), abs=1e-6)
    np.testing.assert_allclose(volume_of(transform), volume, atol=1e-5)
