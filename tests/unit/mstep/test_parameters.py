import numpy as np
import pytest

from relion_mpi.fourier.shells import pixels_per_shell
from relion_mpi.model.compat import OWN, RELION3
from relion_mpi.model.state import HalfModel
from relion_mpi.model.statistics import Statistics
from relion_mpi.mstep.parameters import fill_small, update_parameters

BOX, N_SHELL = 8, 5


def half(n_group=4, n_optics=2):
    flat = np.ones((1, N_SHELL))
    return HalfModel(
        maps=np.zeros((1, BOX, BOX, BOX)), sigma2_noise=np.full((n_optics, N_SHELL), 9.0),
        scale=np.ones(n_group), avg_norm=1.0, pdf_class=np.ones(1),
        pdf_direction=np.full((1, 3), 1 / 3), sigma2_offset_angst2=100.0, tau2=flat, sigma2=flat,
        data_vs_prior=flat, coverage=flat, fsc=np.zeros(N_SHELL),
        optics_particles=np.ones(n_optics),
        group_particles=np.full(n_group, 10),
        orientability=flat,
    )  # fmt: skip


def statistics(n_group=4, n_optics=2):
    sums = Statistics.empty(n_optics, N_SHELL, n_group, 1, 3)
    sums.class_weight[:] = 40.0
    sums.direction_weight[:] = [[10.0, 30.0, 0.0]]
    sums.cross[:], sums.power[:] = 1.0, 1.0
    sums.optics_weight[:] = [40.0, 0.0]
    sums.noise[0] = 2 * 40.0 * pixels_per_shell(BOX) * 0.25
    sums.totals[:5] = 40.0 * 2 * 7.0, 44.0, -5.0, 20.0, 40.0
    return sums


def updated(sums=None, *, after_cc=False, norm=True, scale=True, model=None, compat=OWN):
    model = half() if model is None else model
    update_parameters(
        model, statistics() if sums is None else sums, BOX,
        after_cc=after_cc, correct_norm=norm, correct_scale=scale, compat=compat,
    )  # fmt: skip
    return model


def test_noise_is_half_the_mean_squared_residual_of_independent_pixels():
    np.testing.assert_allclose(updated().sigma2_noise[0], 0.25)


def test_a_group_without_particles_keeps_its_noise():
    np.testing.assert_allclose(updated().sigma2_noise[1], 9.0)


def test_averages_are_over_particles():
    model = updated()
    assert model.avg_norm == pytest.approx(44.0 / 40)
    assert model.ave_pmax == 0.5
    assert model.log_likelihood == -5.0
    assert model.sigma2_offset_angst2 == pytest.approx(7.0)
    np.testing.assert_allclose(model.pdf_direction, [[0.25, 0.75, 0.0]])
    np.testing.assert_allclose(model.pdf_class, [1.0])


def test_the_variance_of_offsets_has_a_floor():
    sums = statistics()
    sums.totals[0] = 0.0
    assert updated(sums).sigma2_offset_angst2 == 2.0


def test_scales_are_cross_over_power_with_mean_one():
    sums = statistics()
    sums.cross[:] = [1.0, 2.0, 3.0, 2.0]
    model = updated(sums)
    np.testing.assert_allclose(model.scale, np.array([1.0, 2.0, 3.0, 2.0]) / 2.0)


def test_outlying_scales_are_clipped_around_the_median():
    sums = statistics()
    sums.cross[:] = [1.0, 1.0, 100.0, 0.001]
    scale = updated(sums).scale
    np.testing.assert_allclose(scale / scale[0], [1.0, 1.0, 5.0, 0.2])
    assert scale.mean() == pytest.approx(1.0)


def test_the_mean_scale_is_weighted_by_particles():
    sums, model = statistics(), half()
    sums.cross[:] = [1.0, 1.0, 1.0, 2.0]
    model.group_particles = np.array([10, 10, 10, 30])
    scale = updated(sums, model=model).scale
    assert (scale * model.group_particles).sum() / 60 == pytest.approx(1.0)


def test_groups_of_the_other_half_do_not_count():
    sums, model = statistics(), half()
    sums.cross[:] = [1.0, 3.0, 0.0, 0.0]
    sums.power[:] = [1.0, 1.0, 0.0, 0.0]
    model.group_particles = np.array([10, 10, 0, 0])
    np.testing.assert_allclose(updated(sums, model=model).scale, [0.5, 1.5, 1.0, 1.0])


def test_cross_correlation_leaves_noise_and_scale_alone():
    sums = statistics()
    sums.cross[:] = [1.0, 2.0, 3.0, 2.0]
    model = updated(sums, after_cc=True)
    np.testing.assert_array_equal(model.sigma2_noise, 9.0)
    np.testing.assert_array_equal(model.scale, 1.0)
    assert model.avg_norm == pytest.approx(1.1)


def test_corrections_that_are_off_leave_their_values():
    sums = statistics()
    sums.cross[:] = [1.0, 2.0, 3.0, 2.0]
    model = updated(sums, norm=False, scale=False)
    assert model.avg_norm == 1.0
    np.testing.assert_array_equal(model.scale, 1.0)


def test_vanishing_noise_is_replaced_by_its_neighbour():
    assert fill_small(np.array([0.0, 2.0, 1e-20, 3.0, 0.0])).tolist() == [2, 2, 2, 3, 3]
    assert fill_small(np.zeros(3)).tolist() == [0, 0, 0]


def test_relion_s_average_norm_is_over_the_kept_weight():
    sums = statistics()
    sums.class_weight[:] = 0.999 * 40
    assert updated(sums, compat=RELION3).avg_norm == pytest.approx(44.0 / (0.999 * 40))
    assert updated(sums).avg_norm == pytest.approx(44.0 / 40)


def test_relion_3_has_no_smallest_variance_of_offsets():
    sums = statistics()
    sums.totals[0] = 40.0 * 2 * 0.5
    assert updated(sums, compat=RELION3).sigma2_offset_angst2 == pytest.approx(0.5)
    assert updated(sums).sigma2_offset_angst2 == 2.0


def test_relion_clips_scales_around_the_median_of_all_groups():
    def ratio(compat):
        sums, model = statistics(n_group=5), half(n_group=5)
        sums.cross[:], sums.power[:] = (100.0, 2.0, 0.0, 0.0, 0.0), (1.0, 1.0, 0.0, 0.0, 0.0)
        model.group_particles[:] = (10, 30, 0, 0, 0)
        scale = updated(sums, model=model, compat=compat).scale
        return scale[0] / scale[1]

    # Three empty groups at 1 make the median 1 and the range 0.2 to 5; without them: 20 to 500.
    assert ratio(RELION3) == pytest.approx(2.5)
    assert ratio(OWN) == pytest.approx(5.0)
