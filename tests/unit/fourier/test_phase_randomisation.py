from __future__ import annotations

import numpy as np
from scipy import fft

from relion_mpi.fourier.correlation import fourier_shell_correlation
from relion_mpi.fourier.phase_randomisation import randomise_phases
from relion_mpi.fourier.shells import half_transform_radius

BOX, FIRST = 16, 4


def randomised(transform, seed=1):
    changed = transform.copy()
    randomise_phases(changed, FIRST, np.random.default_rng(seed))
    return changed


def transform():
    return fft.rfftn(np.random.default_rng(0).normal(size=(BOX,) * 3))


def test_all_amplitudes_are_kept():
    before = transform()
    np.testing.assert_allclose(np.abs(randomised(before)), np.abs(before), rtol=1e-12)


def test_coefficients_below_the_first_shell_are_kept():
    before, inner = transform(), half_transform_radius(BOX, 3) < FIRST
    np.testing.assert_array_equal(randomised(before)[inner], before[inner])
    assert inner.sum() > 50


def test_the_result_is_the_transform_of_a_real_volume():
    changed = randomised(transform())
    again = fft.rfftn(fft.irfftn(changed, s=(BOX,) * 3))
    np.testing.assert_allclose(again, changed, atol=1e-9)


def test_phases_are_spread_evenly():
    before = transform()
    outer = half_transform_radius(BOX, 3) >= FIRST
    turned = np.angle(randomised(before) / before)[outer]
    counts, _ = np.histogram(turned, bins=8, range=(-np.pi, np.pi))
    expected = outer.sum() / 8
    assert np.abs(counts / expected - 1).max() < 5 / np.sqrt(expected)


def test_nothing_is_left_of_the_correlation_beyond():
    before = transform()
    maps = [fft.irfftn(one, s=(BOX,) * 3) for one in (before, randomised(before))]
    fsc = fourier_shell_correlation(*maps)
    np.testing.assert_allclose(fsc[: FIRST - 1], 1.0)
    assert np.abs(fsc[FIRST + 1 :]).max() < 0.25


def test_the_seed_decides():
    before = transform()
    np.testing.assert_array_equal(randomised(before, 3), randomised(before, 3))
    assert not np.allclose(randomised(before, 3), randomised(before, 4))
