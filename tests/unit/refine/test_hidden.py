"""Tasks made of particles, results put back, changes counted."""

from __future__ import annotations

import numpy as np
import pytest
from factories.poses import random_eulers
from factories.project import noise_project, refine_options

from relion_mpi.dataset.batches import make_batches
from relion_mpi.estep.plan import BatchResult
from relion_mpi.geometry.euler import euler_to_matrix, matrix_to_euler
from relion_mpi.geometry.symmetry import point_group
from relion_mpi.refine.hidden import ExpectationTasks, HiddenVariables, particle_batch
from relion_mpi.refine.start import make_start


@pytest.fixture
def particles(tmp_path):
    made = make_start(refine_options(noise_project(tmp_path))).particles
    made.rot_deg, made.tilt_deg, made.psi_deg = random_eulers(made.n_particles, 3).T
    made.origin_angst = np.random.default_rng(4).normal(0, 5, (made.n_particles, 2))
    return made


def result(euler, origin, class_number=1):
    n = len(euler)
    return BatchResult(
        euler, origin, np.full(n, class_number), np.full(n, 0.9), np.full(n, -5.0),
        np.full(n, 0.5), np.full(n, 3), n,
    )  # fmt: skip


def poses(particles, rows):
    return np.stack([particles.rot_deg, particles.tilt_deg, particles.psi_deg], axis=1)[rows]


def test_tasks_are_made_when_asked_for(particles, monkeypatch):
    made = []

    def counted(*arguments):
        made.append(arguments)
        return particle_batch(*arguments)

    monkeypatch.setattr("relion_mpi.refine.hidden.particle_batch", counted)
    batches = make_batches(particles, 2, 1)
    tasks = ExpectationTasks(particles, batches)
    assert len(tasks) == len(batches)
    assert made == []
    task = tasks[2]
    assert len(made) == 1
    np.testing.assert_array_equal(task.batch.particle, batches[2].particles)
    assert task.batch.half == batches[2].half - 1


def test_a_task_has_the_pose_of_the_moment_it_is_made(particles):
    tasks = ExpectationTasks(particles, make_batches(particles, 4, 1))
    particles.origin_angst += 100.0
    batch = tasks[0].batch
    np.testing.assert_array_equal(batch.origin_angst, particles.origin_angst[batch.particle])


def test_a_slice_of_tasks_is_a_list(particles):
    tasks = ExpectationTasks(particles, make_batches(particles, 2, 1))
    assert [len(t.batch.particle) for t in tasks[1:3]] == [
        tasks[i].batch.n_img for i in (1, 2)
    ]


def test_given_priors_are_the_centres_of_local_searches(particles):
    rows = np.arange(3)
    particles.angle_prior_deg = np.full((particles.n_particles, 3), np.nan)
    particles.angle_prior_deg[1, 1] = 42.0
    centre = particle_batch(particles, rows, 0).prior_euler_deg
    expected = poses(particles, rows)
    expected[1, 1] = 42.0
    np.testing.assert_array_equal(centre, expected)


def test_absent_offset_priors_are_zero(particles):
    particles.origin_prior_angst = np.full((particles.n_particles, 2), np.nan)
    particles.origin_prior_angst[1] = 3.0
    batch = particle_batch(particles, np.arange(2), 0)
    np.testing.assert_array_equal(batch.origin_prior_angst, [[0, 0], [3, 3]])


def test_a_result_goes_to_its_rows_alone(particles):
    rows = np.array([1, 5, 7])
    before = poses(particles, slice(None)).copy()
    hidden = HiddenVariables(particles, np.eye(3)[None])
    euler = random_eulers(3, 9)
    hidden.take(rows, result(euler, np.ones((3, 2))))
    np.testing.assert_array_equal(poses(particles, rows), euler)
    others = np.setdiff1d(np.arange(12), rows)
    np.testing.assert_array_equal(poses(particles, others), before[others])
    np.testing.assert_array_equal(particles.max_value_prob[rows], 0.5)
    assert (particles.max_value_prob[others] == 0).all()


def test_a_turn_about_the_view_counts_two_thirds(particles):
    # The mean angle of three axes: those of the image move, the view does not.
    rows = np.arange(12)
    euler = poses(particles, rows)
    euler[:, 2] += 6.0
    hidden = HiddenVariables(particles, np.eye(3)[None])
    hidden.take(rows, result(euler, particles.origin_angst))
    assert hidden.changes().orientations_deg == pytest.approx(4.0)
    assert hidden.changes().offsets_angst == 0


def test_changes_are_modulo_symmetry(particles):
    group = point_group("D2")
    rows = np.arange(12)
    old = euler_to_matrix(*poses(particles, rows).T)
    mates = matrix_to_euler(old @ group.operators[np.arange(12) % group.n_ops])
    for operators, moved in ((group.operators, False), (np.eye(3)[None], True)):
        particles.rot_deg, particles.tilt_deg, particles.psi_deg = matrix_to_euler(old).T
        hidden = HiddenVariables(particles, operators)
        hidden.take(rows, result(mates, particles.origin_angst))
        assert (hidden.changes().orientations_deg > 1.0) is moved


def test_offset_changes_are_root_mean_squares_over_both_axes(particles):
    rows = np.arange(12)
    hidden = HiddenVariables(particles, np.eye(3)[None])
    hidden.take(rows, result(poses(particles, rows), particles.origin_angst + np.array([3, 4])))
    assert hidden.changes().offsets_angst == pytest.approx(np.sqrt(25 / 2))


def test_class_changes_are_the_share_of_particles_that_have_a_result(particles):
    hidden = HiddenVariables(particles, np.eye(3)[None])
    for rows, class_number in ((np.arange(3), 2), (np.arange(3, 10), 1)):
        found = result(poses(particles, rows), particles.origin_angst[rows], class_number)
        hidden.take(rows, found)
    assert hidden.changes().classes == pytest.approx(3 / 10)


def test_changes_do_not_depend_on_the_order_of_results(particles):
    start = poses(particles, slice(None)).copy(), particles.origin_angst.copy()
    new = random_eulers(12, 8)
    found = []
    for order in ([0, 1, 2, 3], [2, 0, 3, 1]):
        particles.rot_deg, particles.tilt_deg, particles.psi_deg = start[0].copy().T
        particles.origin_angst = start[1].copy()
        hidden = HiddenVariables(particles, np.eye(3)[None])
        for part in order:
            rows = np.arange(3 * part, 3 * part + 3)
            hidden.take(rows, result(new[rows], np.zeros((3, 2))))
        found.append(hidden.changes())
    assert found[0] == found[1]  # to the last bit
