import numpy as np
import pytest
from scipy import fft

from relion_mpi.fourier.correlation import (
    fourier_shell_correlation,
    resolution_at,
    shell_correlation,
)
from relion_mpi.fourier.shells import half_transform_radius


def noise(seed, box=24):
    return np.random.default_rng(seed).normal(size=(box,) * 3)


def test_a_map_correlates_with_itself_and_its_multiples():
    np.testing.assert_allclose(fourier_shell_correlation(noise(0), 3.0 * noise(0)), 1.0)
    np.testing.assert_allclose(fourier_shell_correlation(noise(0), -noise(0))[1:], -1.0)


def test_independent_maps_do_not_correlate():
    fsc = fourier_shell_correlation(noise(1), noise(2))
    # The error of a correlation of n pairs is 1 / sqrt(n); shell 5 has some 160 of them.
    assert fsc[0] == 1
    assert np.abs(fsc[5:]).max() < 0.3
    assert abs(fsc[5:].mean()) < 0.05


def test_shells_with_half_the_signal_correlate_by_the_shared_power():
    signal, box = noise(3, 32), 32
    first, second = signal + noise(4, 32), signal + noise(5, 32)
    fsc = fourier_shell_correlation(first, second)
    assert fsc[box // 4 :].mean() == pytest.approx(0.5, abs=0.05)


def test_only_the_changed_shells_lose_correlation():
    transform = fft.rfftn(noise(6))
    radius = half_transform_radius(24, 3)
    changed = transform * np.where(
        np.floor(radius + 0.5) == 6, -1.0, 1.0
    )  # whole shells stay Hermitian
    fsc = fourier_shell_correlation(noise(6), fft.irfftn(changed, s=(24,) * 3))
    np.testing.assert_allclose(fsc, np.where(np.arange(13) == 6, -1.0, 1.0), atol=1e-9)


def test_empty_shells_have_no_correlation():
    values = np.ones(3, complex)
    fsc = shell_correlation(values, values, np.array([0, 1, -1]), 3)
    assert fsc.tolist() == [1, 1, 0, 0]


def test_maps_of_different_size_are_refused():
    with pytest.raises(ValueError, match="different shape"):
        fourier_shell_correlation(noise(0, 8), noise(0, 10))


def test_resolution_is_interpolated_between_shells():
    fsc = np.array([1.0, 1.0, 0.8, 0.2, 0.0])
    # 0.5 lies halfway between shells 2 and 3; the box is 8 * 2 Angstrom.
    assert resolution_at(fsc, 0.5, 8, 2.0) == pytest.approx(16 / 2.5)


def test_a_curve_that_never_falls_reaches_nyquist():
    assert resolution_at(np.ones(5), 0.143, 8, 2.0) == 4.0
