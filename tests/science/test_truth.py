"""A simulated truth goes in and comes out, from a low-passed map and no poses at all."""

from __future__ import annotations

import numpy as np
import pytest
from factories.refinement import (
    angle_errors_deg,
    fsc_with_truth,
    half_map_fsc,
    offset_errors_angst,
    particle_set,
    refine,
)

from relion_mpi.fourier.masks import lowpass, soft_sphere
from relion_mpi.io.mrc import read_map

DIAMETER, SIGMA_ANGST = 150.0, 7.5
GLOBAL = {"offset_range": 4.0, "particle_diameter": DIAMETER}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return particle_set(tmp_path_factory.mktemp("truth"))


@pytest.fixture(scope="module")
def refined(made):
    return refine(made, **GLOBAL)


def expected_noise(refined):
    """Power of white noise of variance 1 under the mask, half of it per component."""
    box, pixel = refined.model.box_size, refined.model.pixel_size_angst
    kept = (soft_sphere(box, DIAMETER / (2 * pixel), 5.0, 2) ** 2).mean()
    return kept / (2 * box**2)


def test_it_converges(refined):
    assert refined.converged
    assert refined.model.current_size == refined.model.box_size
    assert refined.record.schedule.has_fine_enough


def test_poses_are_within_two_degrees(made, refined):
    errors = angle_errors_deg(made, refined)
    assert (errors < 2.0).mean() > 0.9
    assert np.median(errors) < 1.0


def test_offsets_are_within_a_fraction_of_a_pixel(made, refined):
    assert np.median(offset_errors_angst(made, refined)) < 0.2 * 5.0


def test_the_map_is_the_truth(made, refined):
    fsc = fsc_with_truth(made, refined.joined)
    assert (fsc[: int(200 / 20) + 1] > 0.98).all()
    assert fsc[int(200 / 11)] > 0.8


def test_the_map_has_the_scale_of_the_truth(made, refined):
    truth = lowpass(np.float64(read_map(made.maps[0])[0]), 5.0, 20.0)
    found = lowpass(refined.joined, 5.0, 20.0)
    # Regularisation and pose errors damp a little; normalised images add CTF-spread signal.
    assert (found * truth).sum() / (truth**2).sum() == pytest.approx(1.0, abs=0.1)


def test_the_fsc_of_the_halves_foretells_that_with_the_truth(made, refined):
    halves = np.clip(half_map_fsc(refined), 0, 1)
    foretold = np.sqrt(2 * halves / (1 + halves))
    shells = slice(3, 19)
    np.testing.assert_allclose(fsc_with_truth(made, refined.joined)[shells], foretold[shells],
                               atol=0.1)  # fmt: skip


def test_the_noise_spectrum_is_that_of_the_images(refined):
    expected = expected_noise(refined)
    outer = slice(12, 20)  # beyond 17 A there is little signal
    for half in refined.halves:
        # 120 images of some 100 components a shell: 1 %; all shells together: better
        np.testing.assert_allclose(half.sigma2_noise[0, outer].mean(), expected, rtol=0.03)


def test_the_spread_of_origins_is_found(refined):
    for half in refined.halves:
        # Of 240 coordinates a half: 4.6 %
        assert np.sqrt(half.sigma2_offset_angst2) == pytest.approx(SIGMA_ANGST, rel=0.10)


def test_equal_micrographs_have_equal_scales_and_norms(refined):
    for half in refined.halves:
        np.testing.assert_allclose(half.scale, 1.0, atol=0.06)
    # Images were normalised on some 600 pixels (2.9 %) and are measured on 1200 (2 %).
    norm = refined.particles.norm_correction
    assert norm.std() < 0.05 * norm.mean()


def test_accuracies_are_of_the_size_of_the_errors(made, refined):
    # The expected accuracy is where a rotation becomes unlikely; errors must not be far beyond.
    expected = refined.model.accuracy.best_rotation_deg
    assert 0.3 * expected < np.median(angle_errors_deg(made, refined)) < 2 * expected


FAST = {
    "healpix_order": 1, "auto_local_healpix_order": 3, "offset_range": 3.0, "ini_high": 30.0,
    "auto_ignore_angles": True, "auto_resol_angles": True,
}  # fmt: skip
SYMMETRIES = [
    ("C1", {"n": 400, "box": 32, "angpix": 6.0, "snr": 3.0}),
    ("C3", {"n": 160, "box": 32, "angpix": 6.0, "snr": 1.0}),
    ("O", {"n": 100, "box": 40, "angpix": 6.0, "snr": 0.7}),
]


@pytest.mark.parametrize(("sym", "changes"), SYMMETRIES, ids=["C1", "C3", "O"])
def test_every_kind_of_point_group_is_refined(tmp_path, sym, changes):
    made = particle_set(tmp_path, sym=sym, **changes)
    refined = refine(made, sym=sym, **FAST)
    assert refined.converged
    assert (angle_errors_deg(made, refined) < 2.0).mean() > 0.9
    assert fsc_with_truth(made, refined.joined)[int(32 * 6 / 20)] > 0.95
