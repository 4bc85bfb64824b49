from __future__ import annotations

import numpy as np
import pytest

from relion_mpi.postprocess.guinier import NO_AMPLITUDE, fit_line, log_amplitudes
from relion_mpi.postprocess.sharpening import (
    bfactor_factor,
    fsc_weights,
    lowpass_factor,
    mtf_factor,
)

RADIUS = np.linspace(0.0, 27.0, 109)
BOX_ANGST, NYQUIST = 64.0, 16.0


def test_weights_are_the_expected_correlation_with_the_truth():
    fsc = np.array([1.0, 0.5, 0.143, 0.02])
    expected = [1.0, 0.81650, 0.50022, 0.19803]
    np.testing.assert_allclose(fsc_weights(fsc), expected, atol=1e-5)


def test_nothing_is_left_from_the_first_shell_without_signal():
    weights = fsc_weights(np.array([1.0, 0.5, -0.1, 0.6]))
    np.testing.assert_array_equal(weights > 0, [True, True, False, False])


def test_a_b_factor_is_applied_up_to_nyquist():
    factor = bfactor_factor(RADIUS, BOX_ANGST, NYQUIST, -80.0)
    at = {r: factor[RADIUS == r][0] for r in (0.0, 8.0, 16.0, 16.25)}
    assert at[0.0] == 1.0
    assert at[8.0] == pytest.approx(np.exp(20.0 / 64.0))
    assert at[16.0] == pytest.approx(np.exp(20.0 / 16.0))
    assert at[16.25] == 0.0


def test_the_detector_s_curve_is_read_at_the_frequency_on_the_detector():
    curve = (np.array([0.0, 0.5]), np.array([1.0, 0.2]))
    factor = mtf_factor(RADIUS, BOX_ANGST, NYQUIST, curve, 1.0)
    # Shell 8 of a box of 64 A is 1 / 8 A, a quarter of the way to 0.5 per pixel of 1 A.
    assert factor[RADIUS == 8.0][0] == pytest.approx(1 / 0.8)
    assert factor[RADIUS == 0.0][0] == 1.0
    np.testing.assert_array_equal(factor[RADIUS >= NYQUIST], 1.0)


@pytest.mark.parametrize("width", [2, 4])
def test_the_low_pass_falls_to_half_at_its_shell(width):
    factor = lowpass_factor(RADIUS, 8, width)
    assert factor[RADIUS == 8.0][0] == pytest.approx(0.5)
    np.testing.assert_array_equal(factor[RADIUS <= 8 - width / 2], 1.0)
    np.testing.assert_array_equal(factor[RADIUS >= 8 + width / 2], 0.0)
    assert np.all(np.diff(factor) <= 0)


def test_a_low_pass_without_an_edge_is_a_step():
    factor = lowpass_factor(RADIUS, 8, 1)
    np.testing.assert_array_equal(factor, RADIUS <= 8)


def test_a_line_is_found_within_its_range():
    x = (np.arange(17) / 64.0) ** 2
    y = np.where(x >= 0.01, -2.0 - 30.0 * x, 5.0)
    fit = fit_line(x, y, 10.0, 0.0)
    assert fit is not None
    assert (fit.slope, fit.intercept, fit.correlation) == pytest.approx((-30.0, -2.0, 1.0))
    assert fit.bfactor == pytest.approx(-120.0)


def test_the_ends_of_the_range_belong_to_it():
    x = (np.arange(17) / 64.0) ** 2
    y = np.zeros(17)
    y[4] = 1.0  # 16 A, where the range begins
    assert fit_line(x, y, 16.0, 8.0).slope < 0
    assert fit_line(x, y, 15.9, 8.0).slope == 0


def test_points_without_amplitude_are_passed_over():
    x = np.array([0.01, 0.02, 0.03])
    logs = log_amplitudes(np.exp([-1.0, -2.0, -50.0]) * [1, 1, 0])
    assert logs[2] == NO_AMPLITUDE
    assert fit_line(x, logs, 10.0, 0.0).slope == pytest.approx(-100.0)


def test_no_line_goes_through_one_point():
    assert fit_line(np.array([0.001, 0.02]), np.zeros(2), 10.0, 0.0) is None
