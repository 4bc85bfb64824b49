import numpy as np
import pytest

from relion_mpi.fourier.masks import (
    half_transform_radius,
    lowpass,
    lowpass_profile,
    mask_outside_to_mean,
    sinc_squared,
    soft_sphere,
)


def test_the_soft_mask_has_the_edge_of_relion():
    # Weight of the background in softMaskOutsideMap: radius 13.333333, edge 5.
    mask = soft_sphere(64, 13.333333, 5.0, 2)
    background = 1 - mask[32, 32:]
    for radius, expected in ((14, 0.04322731), (16, 0.55226434), (18, 0.98907382)):
        assert background[radius] == pytest.approx(expected, abs=1e-7)
    assert background[13] == 0
    assert background[19] == 1


def test_discs_are_shared_and_cannot_be_changed():
    disc = soft_sphere(16, 5, 2.0, 2)
    assert soft_sphere(16, 5.0, 2, 2) is disc
    with pytest.raises(ValueError, match="read-only"):
        disc[0, 0] = 1.0
    soft_sphere(16, 5, 2.0, 3)[0, 0, 0] = 1.0


def test_interpolation_rolls_off_as_sinc_squared_of_the_radius():
    roll = sinc_squared(32, 2, 3)
    for radius, expected in ((1, 0.99919707), (8, 0.94964125), (16, 0.81056947)):
        assert roll[16, 16, 16 - radius] == pytest.approx(expected, abs=1e-7)
    assert roll[16, 16, 16] == 1


def test_outside_of_the_mask_becomes_its_mean():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(16, 16)) + 2.0
    weight = 1 - soft_sphere(16, 4, 3, 2)
    masked = mask_outside_to_mean(image, 4, 3)
    assert masked[0, 0] == pytest.approx((image * weight).sum() / weight.sum())
    assert masked[8, 8] == image[8, 8]


def test_a_constant_image_is_not_changed_by_its_mask():
    np.testing.assert_allclose(mask_outside_to_mean(np.full((8,) * 3, 3.0), 2, 1), 3.0)


def test_the_low_pass_falls_from_one_to_zero_over_two_shells():
    profile = lowpass_profile(np.array([0.0, 8.99, 9.5, 10.0, 10.5, 11.01]), 10.0)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(profile, [1, 1, 0.5 + half / 2, 0.5, 0.5 - half / 2, 0], atol=1e-4)


@pytest.mark.parametrize("ndim", [2, 3])
def test_low_passing_removes_high_and_keeps_low_frequencies(ndim):
    box = 16
    volume = np.random.default_rng(1).normal(size=(box,) * ndim)
    before, after = np.fft.rfftn(volume), np.fft.rfftn(lowpass(volume, 2.0, 8.0))
    radius = half_transform_radius(box, ndim)  # cut-off at shell 16 * 2 / 8 = 4
    np.testing.assert_allclose(after[radius <= 3], before[radius <= 3], atol=1e-10)
    np.testing.assert_allclose(after[radius >= 5], 0, atol=1e-10)


def test_radii_follow_the_layout_of_half_transforms():
    radius = half_transform_radius(8, 3)
    assert radius.shape == (8, 8, 5)
    assert radius[7, 0, 0] == 1
    assert radius[4, 0, 3] == 5
