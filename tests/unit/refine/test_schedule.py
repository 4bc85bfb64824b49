"""Image sizes, sampling and convergence, on numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from relion_mpi.model.state import Accuracy
from relion_mpi.refine.schedule import Changes, Schedule, resolution_from_ssnr

LARGE = Changes(10.0, 10.0, 0.0)


def schedule(**changes):
    values = {
        "healpix_order": 2, "oversampling": 1, "offset_range_angst": 17.5,
        "offset_step_angst": 7.0, "perturbation_factor": 0.5, "local_order": 4,
    }  # fmt: skip
    return Schedule(**(values | changes))


def ready(**changes):
    """A schedule whose resolution and assignments have settled."""
    one = schedule(**changes)
    one.changes = LARGE
    one.iterations_without_resolution_gain = one.iterations_without_changes = 1
    return one


def accuracy(rotation_deg=5.0, translation_angst=4.0):
    return Accuracy(np.array([rotation_deg]), np.array([translation_angst]))


# Image size


def test_image_size_is_the_resolution_and_ten_shells():
    # 320 A / 40 A = shell 8; 2 (8 + 10)
    assert schedule().current_size(100, 320.0, 1 / 40, ave_pmax=1.0) == 36


@pytest.mark.parametrize(("resolution", "size"), [(0.0265, 36), (0.0266, 38)])
def test_the_shell_of_the_resolution_is_rounded(resolution, size):
    # 320 A times these is 8.48 and 8.51
    assert schedule().current_size(100, 320.0, resolution, ave_pmax=0.0) == size


def test_image_size_never_exceeds_the_box():
    assert schedule().current_size(30, 300.0, 1 / 20, ave_pmax=0.0) == 30


@pytest.mark.parametrize(
    ("pmax", "high", "size"), [(0.2, True, 2 * (8 + 13)), (0.05, True, 36), (0.2, False, 36)]
)
def test_a_sharp_posterior_and_a_high_fsc_add_a_quarter_of_nyquist(pmax, high, size):
    one = schedule(has_high_fsc_at_limit=high)
    assert one.current_size(100, 320.0, 1 / 40, pmax) == size  # 0.25 * 50 = 12.5, rounded to 13


def test_the_last_iteration_uses_the_whole_box():
    assert schedule(has_converged=True).current_size(100, 320.0, 1 / 40, 0.0) == 100


def test_coarse_size_resolves_what_a_coarse_step_moves_at_the_edge():
    # 15 deg / 360 pi 200 A = 26.18 A; / 1.2 = 21.82 A; 300 A / that = 13.75; twice the ceiling
    assert schedule().coarse_size(100, 300.0, current=60, particle_diameter_angst=200.0) == 28


def test_coarse_size_never_exceeds_the_image_size():
    assert schedule().coarse_size(100, 300.0, current=20, particle_diameter_angst=200.0) == 20


def test_without_oversampling_there_is_one_size():
    assert schedule(oversampling=0).coarse_size(100, 300.0, 60, 200.0) == 60


def test_a_steep_fsc_leaves_the_increment_and_a_shallow_one_raises_it():
    steep, shallow = schedule(), schedule()
    steep.note_fsc(np.repeat([1.0, 0.0], [10, 31]), 60)
    assert steep.incr_size == 10
    shallow.note_fsc(np.repeat([1.0, 0.3, 0.0], [10, 12, 19]), 60)
    assert shallow.incr_size == 12 + 5


def test_a_high_fsc_at_the_limit_is_remembered():
    one = schedule()
    fsc = np.zeros(41)
    fsc[29] = 0.21
    one.note_fsc(fsc, 62)
    assert not one.has_high_fsc_at_limit
    one.note_fsc(fsc, 60)
    one.note_fsc(np.zeros(41), 60)
    assert one.has_high_fsc_at_limit


# Sampling


def test_first_grid_has_the_steps_of_its_order():
    one = schedule()
    assert one.fine_step_deg == pytest.approx(7.5)
    assert one.fine_offset_step_angst == pytest.approx(3.5)
    assert one.local_sigma_deg is None


def test_a_refined_grid_is_that_of_relion():
    # A run of RELION 3.1.3 (32 pixels of 3 A, 120 particles) went from fine steps of 15 deg and
    # 3 A, range 9 A, to 7.5 deg and 1.5 A, range 1.3 * 9 = 11.7 A; coarse step 1.5 * 2.
    one = ready(healpix_order=1, offset_range_angst=9.0, offset_step_angst=6.0)
    assert one.refine_sampling(accuracy(), 1 / 20, 80.0)
    assert one.healpix_order == 2
    assert one.fine_step_deg == pytest.approx(7.5)
    assert one.offset_range_angst == pytest.approx(11.7)
    assert one.offset_step_angst == pytest.approx(1.5 * 2)


def test_the_offset_step_follows_the_accuracy():
    one = ready()
    one.refine_sampling(accuracy(translation_angst=1.0), 1 / 20, 80.0)
    # 0.75 A fine, 1.5 A coarse; the range 1.3 * 17.5 = 22.75 is halved and cut into four steps
    assert one.offset_range_angst == pytest.approx(11.375)
    assert one.offset_step_angst == pytest.approx(11.375 / 4)


def test_the_offset_range_follows_the_last_changes_but_keeps_three_fine_steps():
    one = ready()
    one.changes = Changes(1.0, 0.3, 0.0)
    one.refine_sampling(accuracy(), 1 / 20, 80.0)
    assert one.offset_step_angst == pytest.approx(3.0)
    assert one.offset_range_angst == pytest.approx(4.5)  # not 5 * 0.3


def test_an_offset_step_never_grows():
    one = ready(offset_range_angst=4.0, offset_step_angst=1.0)
    one.refine_sampling(accuracy(), 1 / 20, 80.0)
    assert (one.offset_range_angst, one.offset_step_angst) == (4.0, 1.0)


@pytest.mark.parametrize(("gain", "moved"), [(0, 1), (1, 0), (0, 0)])
def test_grids_stay_while_resolution_or_assignments_improve(gain, moved):
    one = ready()
    one.iterations_without_resolution_gain, one.iterations_without_changes = gain, moved
    assert not one.refine_sampling(accuracy(), 1 / 20, 80.0)
    assert one.healpix_order == 2


def test_ignore_angles_does_not_wait_for_assignments():
    one = ready(ignore_angles=True)
    one.iterations_without_changes = 0
    assert one.refine_sampling(accuracy(), 1 / 20, 80.0)


def test_resol_angles_does_not_wait_for_the_resolution_when_it_needs_finer_steps():
    # 360 / ceil(pi 80 A / 4 A) = 5.7 deg is below 7.5 deg, 360 / ceil(pi 80 / 20) = 27.7 is not
    for resolution, refined in ((1 / 4, True), (1 / 20, False)):
        one = ready(resolution_angles=True)
        one.iterations_without_resolution_gain = 0
        assert one.refine_sampling(accuracy(), resolution, 80.0) is refined


def test_resol_angles_waits_before_local_searches():
    one = ready(resolution_angles=True, local_order=3)
    one.iterations_without_resolution_gain = 0
    assert not one.refine_sampling(accuracy(), 1 / 4, 80.0)


@pytest.mark.parametrize(("rotation", "fine_enough"), [(10.1, True), (9.9, False)])
def test_grids_are_fine_enough_at_three_quarters_of_the_accuracy(rotation, fine_enough):
    one = ready()
    assert one.refine_sampling(accuracy(rotation), 1 / 20, 80.0) is not fine_enough
    assert one.has_fine_enough is fine_enough
    assert one.healpix_order == (2 if fine_enough else 3)


def test_a_refined_grid_starts_the_counters_anew():
    one = ready()
    one.smallest = Changes(1.0, 1.0, 0)
    one.refine_sampling(accuracy(), 1 / 20, 80.0)
    assert one.iterations_without_resolution_gain == one.iterations_without_changes == 0
    assert one.smallest == Changes()


def test_searches_become_local_within_two_fine_steps():
    one = ready(healpix_order=3)
    one.refine_sampling(accuracy(), 1 / 20, 80.0)
    assert one.healpix_order == 4
    assert one.local_sigma_deg == pytest.approx(2 * 1.875)


def test_searches_are_local_at_once_on_a_fine_first_grid():
    assert schedule(healpix_order=4).local_sigma_deg == pytest.approx(3.75)


# Convergence

REAL_RUN = [
    # orientations (deg), offsets (A) of one run; grids were refined between the lists
    ([57.7, 5.93, 5.76, 5.91], [5.37, 1.56, 1.50, 1.71], [0, 0, 0, 1]),
    ([4.14, 2.89], [1.05, 0.38], [0, 1]),
    ([1.89, 1.35], [0.27, 0.27], [0, 1]),
    ([0.75, 0.53], [0.34, 0.26], [0, 1]),
    ([0.36, 0.29], [0.28, 0.26], [0, 1]),
]


def test_changes_are_counted_as_in_a_run_of_relion():
    one = schedule()
    assert (one.first_step_deg, one.first_offset_step_angst) == (7.5, 3.5)
    for angles, offsets, expected in REAL_RUN:
        found = []
        for angle, offset in zip(angles, offsets, strict=True):
            one.note_changes(Changes(angle, offset, 0.0))
            found.append(one.iterations_without_changes)
        assert found == expected
        one.iterations_without_resolution_gain = 1
        assert one.refine_sampling(accuracy(0.01), 1 / 20, 80.0)


def test_changes_are_still_measured_by_the_first_steps_after_a_refinement():
    one = ready()
    one.refine_sampling(accuracy(), 1 / 20, 80.0)
    # 2.9 and 1.0 fall by half; they are below 0.4 of 7.5 deg and 3.5 A, not of 3.75 deg and 1.5 A
    one.note_changes(Changes(2.9, 1.3, 0.0))
    one.note_changes(Changes(1.6, 0.7, 0.0))
    assert one.iterations_without_changes == 1


def test_a_class_change_counts_as_a_change():
    one = schedule()
    one.note_changes(Changes(1.0, 1.0, 2.0))
    one.note_changes(Changes(1.0, 1.0, 1.0))
    assert one.iterations_without_changes == 0


def test_a_gain_in_resolution_is_more_than_a_ten_thousandth():
    one = schedule()
    one.note_resolution(0.05005, 0.05)
    assert one.iterations_without_resolution_gain == 1
    one.note_resolution(0.0502, 0.05)
    assert one.iterations_without_resolution_gain == 0
    one.note_resolution(0.04, 0.0502)
    assert one.best_resolution == pytest.approx(0.0502)


@pytest.mark.parametrize("missing", ["has_fine_enough", "resolution", "changes"])
def test_convergence_needs_all_three(missing):
    one = ready(has_fine_enough=missing != "has_fine_enough")
    one.iterations_without_resolution_gain = int(missing != "resolution")
    one.iterations_without_changes = int(missing != "changes")
    assert not one.check_convergence()
    assert one.check_convergence(force=True)


def test_a_settled_run_on_fine_grids_has_converged():
    assert ready(has_fine_enough=True).check_convergence()
    ignoring = ready(has_fine_enough=True, ignore_angles=True)
    ignoring.iterations_without_changes = 0
    assert ignoring.check_convergence()


# Resolution


def ssnr(n_good, n_shell=33):
    return np.where(np.arange(n_shell) <= n_good, 10.0, 0.1)[None]


def test_the_resolution_is_the_last_shell_with_signal():
    assert resolution_from_ssnr(ssnr(12), 100.0) == pytest.approx(0.12)


def test_the_resolution_is_never_below_shell_five():
    assert resolution_from_ssnr(ssnr(2), 100.0) == pytest.approx(0.05)


def test_a_dip_in_the_ssnr_is_bridged_from_the_high_end():
    curve = ssnr(20)
    curve[0, 8:10] = 0.5
    assert resolution_from_ssnr(curve, 100.0) == pytest.approx(0.20)
    curve = ssnr(12)
    curve[0, 10] = 0.5  # shells 11 and 12 are within three of 9: the first fall counts
    assert resolution_from_ssnr(curve, 100.0) == pytest.approx(0.09)


def test_signal_up_to_nyquist_is_the_last_shell_but_one():
    assert resolution_from_ssnr(np.full((1, 33), 10.0), 100.0) == pytest.approx(0.31)


def test_the_best_class_gives_the_resolution():
    assert resolution_from_ssnr(np.concatenate([ssnr(7), ssnr(15)]), 100.0) == pytest.approx(0.15)


def test_steps_halve_with_every_order():
    steps = [schedule(healpix_order=order, local_order=99).fine_step_deg for order in range(6)]
    assert steps == pytest.approx([30 / 2**i for i in range(6)])
    assert math.isclose(steps[0] / steps[5], 32)
