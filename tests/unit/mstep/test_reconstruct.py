from functools import lru_cache

import numpy as np
import pytest
from factories.sums import projected_sums, random_sums

from relion_mpi.fourier.correlation import fourier_shell_correlation
from relion_mpi.fourier.masks import sinc_squared
from relion_mpi.fourier.shells import half_transform_radius
from relion_mpi.mstep.reconstruct import blob_table, reconstruct


@lru_cache
def projected():
    volume, sums = projected_sums()
    sums.backend.enforce_friedel(sums)
    return volume, sums


def test_the_blob_has_the_values_of_relion():
    # Kaiser-Bessel, radius 3.8, alpha 15, order 0, relative to its transform at 0.
    table = blob_table()
    golden = {
        0.05: 0.95939323, 0.1: 0.84662111, 0.25: 0.34203120, 0.4: 0.05313755, 0.49: 0.00892642,
    }  # fmt: skip
    for frequency, expected in golden.items():
        assert table[round(frequency * 20000)] == pytest.approx(expected, abs=2e-7)


@pytest.mark.parametrize("skip_gridding", [True, False], ids=["divide", "gridding"])
def test_projections_of_a_map_reconstruct_it(skip_gridding):
    volume, sums = projected()
    found = reconstruct(sums, None, skip_gridding=skip_gridding)
    fsc = fourier_shell_correlation(found, volume)
    assert fsc[: int(0.8 * 12) + 1].min() > 0.99
    # The grey scale is the map's: within the error of trilinear interpolation, twice.
    assert (found * volume).sum() / (volume**2).sum() == pytest.approx(1.0, abs=0.05)


def test_a_vast_prior_changes_nothing():
    _, sums = projected()
    free = reconstruct(sums, None)
    np.testing.assert_allclose(
        reconstruct(sums, np.full(13, 1e12)), free, atol=1e-6 * np.abs(free).max()
    )


def test_a_small_prior_suppresses_regularised_shells_only():
    sums = random_sums(box=24, r_max=12, seed=5)
    sums.backend.enforce_friedel(sums)
    free, damped = (np.fft.rfftn(reconstruct(sums, t)) for t in (None, np.full(13, 1e-12)))
    radius = half_transform_radius(24, 3)
    low, high = radius < 3.5, (radius > 6.5) & (radius < 12)  # the prior starts at shell 5
    assert np.abs(damped[low]).mean() > 0.5 * np.abs(free[low]).mean()
    assert np.abs(damped[high]).mean() < 0.05 * np.abs(free[high]).mean()


def test_a_prior_of_the_inverse_weight_halves_the_shell():
    sums = random_sums(box=16, r_max=8, seed=1)
    sums.weight[...] = np.where(sums.radius2() <= sums.reach**2, 4.0, 0.0)
    sums.backend.enforce_friedel(sums)
    sums.weight[...] = np.where(sums.radius2() <= sums.reach**2, 4.0, 0.0)
    # Division happens voxel by voxel: W + 1 / (8 tau2) = 2 W for tau2 = 1 / 32.
    whole = reconstruct(sums, None, min_shell=0)
    half = reconstruct(sums, np.full(9, 1 / 32.0), min_shell=0)
    edge = sums.radius2() == sums.reach**2  # not regularised there, as in RELION
    assert edge.sum() < 100
    np.testing.assert_allclose(half, whole / 2, atol=0.02 * np.abs(whole).max())


def test_weights_and_data_scale_together():
    _, sums = projected()
    scaled = sums.copy()
    scaled.data *= 7.0
    scaled.weight *= 7.0
    for skip in (True, False):
        a, b = (reconstruct(s, None, skip_gridding=skip) for s in (sums, scaled))
        np.testing.assert_allclose(b, a, atol=1e-5 * np.abs(a).max())


def test_the_sums_are_not_changed():
    _, sums = projected()
    before = sums.copy()
    reconstruct(sums, np.ones(13), skip_gridding=False)
    np.testing.assert_array_equal(before.data, sums.data)
    np.testing.assert_array_equal(before.weight, sums.weight)


def test_the_corners_hold_a_constant():
    _, sums = projected()
    found = reconstruct(sums, None)
    flat = (found * sinc_squared(24, 2, 3))[[0, 0, -1], [0, -1, 0], [0, -1, 0]]
    np.testing.assert_allclose(flat, flat[0])
