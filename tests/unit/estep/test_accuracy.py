from dataclasses import replace

import numpy as np
import pytest
from factories.plans import batch, expectation

from relion_mpi.estep.accuracy import (
    MAX_SHIFT_PIX,
    P_VALUE,
    _shift_errors,
    expected_accuracies,
    rotation_step,
    shift_step,
)
from relion_mpi.estep.geometry import ctf_parameters
from relion_mpi.geometry.euler import euler_to_matrix
from relion_mpi.optics.ctf import ctf


def expected_accuracy(estep, particles, k=0):
    """Of one class."""
    return expected_accuracies(estep, particles, (k,))[0]


def test_a_better_signal_means_finer_accuracies():
    results = [expected_accuracy(expectation(s), batch(8)) for s in (1e-1, 1e-2, 1e-3)]
    rotations = [r.rotation_deg for r in results]
    shifts = [r.translation_angst for r in results]
    assert rotations[0] > rotations[1] > rotations[2] > 0
    assert shifts[0] > shifts[1] > shifts[2] > 0


def test_hopeless_noise_reaches_the_caps():
    result = expected_accuracy(expectation(1e6), batch(3))
    assert result.rotation_deg >= 30.0
    assert result.translation_angst >= 10 * 3.0


def statistic(estep, particles, euler):
    """Half the weighted squared difference of two CTF-multiplied slices, computed here."""
    geometry, _ = estep.group(0)
    values = ctf(ctf_parameters(estep.plan.optics, particles), geometry.freq_x, geometry.freq_y)[0]
    truth, other = (
        estep.backend.project(estep.references[0], euler_to_matrix(*e[:, None]), geometry)[0]
        for e in (particles.euler_deg[0], euler)
    )
    sigma2 = estep.plan.halves[0].sigma2_noise[0][geometry.shell]
    terms = np.abs(values * (truth - other)) ** 2 / (2 * sigma2)
    return terms[geometry.shell > 0].sum()


def test_the_rotation_is_the_first_rung_that_exceeds_the_p_value():
    estep = expectation(1e-2)
    particles = batch(1, seed=3)
    found = expected_accuracy(estep, particles).rotation_deg
    rungs = [0.0]
    while rungs[-1] < found - 1e-9:
        rungs.append(rungs[-1] + rotation_step(rungs[-1]))
    assert rungs[-1] == pytest.approx(found)
    above = []
    for angle in range(3):
        at = [particles.euler_deg[0] + np.eye(3)[angle] * rung for rung in rungs[-2:]]
        before, after = (statistic(estep, particles, e) for e in at)
        above.append(before <= P_VALUE < after)
    assert any(above)  # along one of the angles


def test_orientability_is_a_share_per_shell():
    result = expected_accuracy(expectation(1e-2), batch(5))
    assert result.orientability.sum() == pytest.approx(1.0)
    assert result.orientability[0] == 0
    assert (result.orientability >= 0).all()


def test_accuracies_do_not_depend_on_the_batch():
    estep, whole = expectation(1e-2), batch(4)
    together = expected_accuracy(estep, whole).rotation_deg
    alone = []
    for i in range(4):
        rows = slice(i, i + 1)
        fields = ("particle", "stack_file", "image_index", "scale_group", "ctf", "euler_deg")
        fields += ("prior_euler_deg", "origin_angst", "origin_prior_angst", "norm_correction")
        one = replace(whole, **{name: getattr(whole, name)[rows] for name in fields})
        alone.append(expected_accuracy(estep, one).rotation_deg)
    assert together == pytest.approx(np.mean(alone))


def test_rungs_grow_with_the_error():
    errors = [0.0, 0.3, 1.5, 3.0, 7.0, 15.0, 25.0]
    assert [rotation_step(e) for e in errors] == [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0]
    assert [shift_step(e) for e in (0.0, 1.5, 3.0, 7.0, 15.0)] == [0.1, 0.2, 0.5, 1.0, 2.0]


def test_each_class_has_accuracies_of_its_own():
    estep, particles = expectation(1e-2, n_class=2), batch(4)
    found = [expected_accuracy(estep, particles, k) for k in (0, 1)]
    assert found[0].rotation_deg == expected_accuracy(expectation(1e-2), particles).rotation_deg
    assert found[0].rotation_deg != found[1].rotation_deg
    assert found[1].orientability.sum() == pytest.approx(1.0)


def test_a_class_without_signal_has_the_worst_accuracies():
    estep = expectation(1e-2)
    empty = estep.backend.load_references(np.zeros((1, 32, 32, 32)), 16, 2)
    estep.references[0] = empty
    result = expected_accuracy(estep, batch(3))
    assert result.rotation_deg >= 30.0
    assert result.translation_angst >= 10 * 3.0
    assert not result.orientability.any()


def test_a_shift_error_is_the_first_rung_along_its_own_axis():
    """Power that is not the same along x and y: the axes must not be mixed up."""
    geometry, _ = expectation(1e-2).group(0)
    rng = np.random.default_rng(4)
    along_y = np.array([0, 1, 0, 1, 1, 0])
    truth = rng.normal(size=(6, geometry.n_pix)) + 1j * rng.normal(size=(6, geometry.n_pix))
    weight = 0.05 * rng.random((6, geometry.n_pix)) * np.exp(-((geometry.y / 3.0) ** 2))
    found = _shift_errors(truth, weight, along_y, geometry)
    for i, is_y in enumerate(along_y):
        place, error, told = (geometry.y if is_y else geometry.x), 0.0, 0.0
        while told <= P_VALUE and error < MAX_SHIFT_PIX:
            error += shift_step(error)
            turned = np.exp(-2j * np.pi * error * place / geometry.box_size)
            told = (weight[i] * np.abs(truth[i] * (1 - turned)) ** 2).sum()
        assert found[i] == pytest.approx(error)
    assert found[along_y == 1].min() > found[along_y == 0].max()
