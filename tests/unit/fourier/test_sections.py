"""Passes over sections give what passes over the whole transform give."""

from __future__ import annotations

import numpy as np
import pytest

from relion_mpi.fourier.correlation import fourier_shell_correlation
from relion_mpi.fourier.sections import (
    mean_amplitudes,
    scale_by_radius,
    sections_of,
    transform_correlation,
)
from relion_mpi.fourier.shells import half_transform_radius

BOX = 16


def noise(seed):
    return np.random.default_rng(seed).normal(size=(BOX,) * 3)


def test_squared_radii_are_those_of_the_transform():
    sections = sections_of(BOX)
    found = np.stack([sections.squared_radius(k) for k in range(BOX)])
    np.testing.assert_allclose(np.sqrt(found), half_transform_radius(BOX, 3))
    assert found.max() == sections.n_squared - 1


def test_the_correlation_is_that_of_the_maps():
    first, second = noise(0), noise(0) + 0.5 * noise(1)
    found = transform_correlation(np.fft.rfftn(first), np.fft.rfftn(second))
    np.testing.assert_allclose(found, fourier_shell_correlation(first, second), rtol=1e-12)


def test_maps_in_single_precision_correlate_as_in_double():
    first, second = noise(0), noise(0) + 2.0 * noise(1)
    singles = [np.fft.rfftn(one).astype(np.complex64) for one in (first, second)]
    found = transform_correlation(*singles)
    np.testing.assert_allclose(found, fourier_shell_correlation(first, second), atol=1e-6)


def test_amplitudes_are_averaged_over_shells():
    transform = np.fft.rfftn(noise(2))
    shells = np.floor(half_transform_radius(BOX, 3) + 0.5)
    expected = [np.abs(transform[shells == s]).mean() for s in range(BOX // 2 + 1)]
    np.testing.assert_allclose(mean_amplitudes(transform), expected)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_a_factor_of_the_radius_is_applied_in_place(dtype):
    transform = np.fft.rfftn(noise(3)).astype(dtype)
    expected = transform * np.exp(-0.1 * half_transform_radius(BOX, 3) ** 2)
    scale_by_radius(transform, np.exp(-0.1 * sections_of(BOX).radius() ** 2))
    np.testing.assert_allclose(transform, expected, rtol=1e-5)
    assert transform.dtype == dtype
