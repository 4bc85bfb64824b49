"""Several classes in one search: against brute force, and each in its own sums."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from factories.problem import BOX, BruteForce, problem

from relion_mpi.backend.protocol import LocalPrior


def check(backend, eps, made, local=None):
    """Best samples and evidence are those of a sum over every sample."""
    brute = BruteForce(made, backend)
    best, _ = made.search(backend, local=local)
    largest = max(np.abs(brute.images_ft()).max() ** 2 / made.sigma2.min(), 1.0)
    atol = made.geometry.n_pix * eps * largest + 1e-6
    for i in range(made.n_img):
        scores = brute.fine(i)
        assert best.n_significant[i] == brute.significant(i).sum()
        found = (
            best.class_index[i], best.fine_direction[i], best.fine_psi[i], best.fine_shift[i],
        )  # fmt: skip
        assert found == np.unravel_index(scores.argmax(), scores.shape)
        total = scores.max() if made.metric == "cc" else np.logaddexp.reduce(scores.ravel())
        np.testing.assert_allclose(best.log_evidence[i], total, atol=atol)
    return best


def same_for_all_classes(made):
    """The problem with a prior that prefers no class."""
    direction = np.tile(made.prior.direction[:1], (len(made.maps), 1))
    return replace(made, prior=replace(made.prior, direction=direction))


def listed(made, classes):
    """All orientations of the given classes (n_img, n) for each image."""
    n_orient, n_psi = made.grid.n_orient, made.grid.n_psi
    hypothesis = (classes[:, :, None] * n_orient + np.arange(n_orient)).reshape(made.n_img, -1)
    log_prior = np.tile(np.repeat(made.prior.direction[0], n_psi), classes.size)
    offsets = np.arange(made.n_img + 1) * hypothesis.shape[1]
    return LocalPrior(offsets, hypothesis.ravel(), log_prior, made.prior.shift)


def summed(backend, made, local=None):
    sums = made.new_sums(backend)
    best, moments = made.search(backend, sums, local)
    return best, moments, backend.fetch_sums(sums)


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("metric", ["gauss", "cc"])
def test_a_global_search_finds_the_best_of_three_classes(backend, eps, metric, planar):
    made = problem(6, n_class=3, snr=0.1, seed=31, metric=metric, planar=planar)
    best = check(backend, eps, made)
    assert set(best.class_index) == {0, 1, 2}


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("metric", ["gauss", "cc"])
def test_a_local_search_scores_every_class_that_is_listed(backend, eps, metric, planar):
    made = problem(6, n_class=3, snr=0.1, seed=32, metric=metric, planar=planar)
    made = same_for_all_classes(made)
    best = check(backend, eps, made, listed(made, np.tile(np.arange(3), (6, 1))))
    assert set(best.class_index) == {0, 1, 2}


def test_a_local_search_may_list_another_class_for_each_image(backend, eps):
    made = same_for_all_classes(problem(4, n_class=2, snr=0.1, seed=33))
    classes = np.array([1, 0, 0, 1])
    best, moments, _ = summed(backend, made, listed(made, classes[:, None]))
    np.testing.assert_array_equal(best.class_index, classes)
    assert (moments.class_weight[np.arange(4), 1 - classes] == 0).all()
    for i, k in enumerate(classes):
        direction = np.full_like(made.prior.direction, -np.inf)
        direction[k] = made.prior.direction[k]
        alone = replace(made.only([i]), prior=replace(made.only([i]).prior, direction=direction))
        found, _ = alone.search(backend)
        np.testing.assert_allclose(found.log_evidence[0], best.log_evidence[i], rtol=1000 * eps)


@pytest.mark.parametrize("metric", ["gauss", "cc"])
def test_a_class_without_prior_takes_no_part(backend, eps, metric):
    made = problem(5, n_class=3, snr=0.1, seed=34, metric=metric)
    direction = made.prior.direction.copy()
    direction[1] = -np.inf
    made = replace(made, prior=replace(made.prior, direction=direction))
    check(backend, eps, made)
    _, moments, host = summed(backend, made)
    assert (moments.class_weight[:, 1] == 0).all()
    assert not host.volume[1].any()
    assert not host.direction_weight[1].any()
    assert host.volume[[0, 2]].any()


def test_a_class_without_signal_loses_all_particles_but_stays(backend):
    made = problem(5, n_class=2, snr=3.0, seed=35)
    maps = made.maps.copy()
    maps[1] = 0.0
    best, moments, _ = summed(backend, replace(made, maps=maps))
    assert np.isfinite(best.log_evidence).all()
    np.testing.assert_allclose(moments.class_weight.sum(axis=1), 1.0, atol=1.1e-3)


def test_kept_weights_of_classes_sum_to_one_for_each_particle(backend):
    made = problem(5, n_class=3, snr=0.02, seed=36, adaptive_fraction=1.0)
    _, moments, host = summed(backend, made)
    assert (moments.class_weight > 1e-3).sum() > 5  # particles are shared
    np.testing.assert_allclose(moments.class_weight.sum(axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(
        host.direction_weight.sum(axis=1), moments.class_weight.sum(axis=0), rtol=1e-5
    )


@pytest.mark.parametrize("planar", [False, True])
def test_each_class_has_the_weights_of_its_own_slices(backend, eps, planar):
    made = problem(5, n_class=3, snr=0.1, seed=37, planar=planar)
    brute = BruteForce(made, backend)
    _, _, host = summed(backend, made)
    each = (made.ctf * made.optics.scale[:, None]) ** 2 / made.sigma2[made.geometry.shell]
    kept = np.array([brute.weights(i).sum((1, 2, 3)) for i in range(made.n_img)])
    expected = kept.T @ each.sum(axis=1)
    found = host.volume[..., 2].astype(float).sum(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-4 + 1000 * eps, atol=1e-4 * expected.max())


def moved(made, backend, shift, remainder, grid):
    """Search and sums with one shift in the grid and the rest in the images."""
    one = replace(
        grid, coarse_shift_pix=shift[None], fine_shift_pix=shift[None],
        fine_direction=grid.coarse_direction, fine_psi_rad=grid.coarse_psi_rad,
    )  # fmt: skip
    references, n = made.references(backend), made.n_img
    handle = backend.prepare(
        made.images, np.zeros((n, 2), np.int64), np.ones(n), made.mask, made.geometry,
        made.optics, remainder,
    )  # fmt: skip
    prior = listed(made, np.tile(np.arange(len(made.maps)), (n, 1)))
    prior = replace(prior, shift=np.zeros((n, 1)))
    sums = made.new_sums(backend)
    found = backend.search_local(handle, references, one, prior, made.likelihood)
    posterior, best = backend.search_fine(handle, references, one, found, made.likelihood)
    moments = backend.accumulate(handle, references, one, posterior, made.likelihood, sums)
    return best, moments, backend.fetch_sums(sums)


def test_what_recentring_leaves_over_is_applied_exactly(backend, eps):
    made, shift = problem(3, n_class=2, snr=1.0, seed=38), np.array([0.3, -0.45])
    by_grid = moved(made, backend, shift, None, made.grid)
    in_images = moved(made, backend, np.zeros(2), np.tile(shift, (3, 1)), made.grid)
    still = moved(made, backend, np.zeros(2), None, made.grid)
    atol = 1000 * eps
    for record, name in ((0, "log_evidence"), (1, "cross"), (1, "class_weight"), (2, "volume")):
        expected, found, other = (
            np.asarray(getattr(one[record], name), float) for one in (by_grid, in_images, still)
        )
        np.testing.assert_allclose(found, expected, atol=atol * np.abs(expected).max())
        assert np.abs(other - expected).max() > 100 * np.abs(found - expected).max()


def test_images_are_moved_each_by_its_own_remainder(backend, eps):
    made = problem(3, n_class=1, snr=1.0, seed=39)
    shifts = np.array([[0.3, -0.45], [0.0, 0.0], [-0.5, 0.25]])
    together, _, _ = moved(made, backend, np.zeros(2), shifts, made.grid)
    for i in range(3):
        alone, _, _ = moved(made.only([i]), backend, shifts[i], None, made.grid)
        np.testing.assert_allclose(
            together.log_evidence[i], alone.log_evidence[0], rtol=1000 * eps
        )


def test_a_grid_of_one_batch_gives_the_same_and_is_not_kept(backend, eps):
    made = same_for_all_classes(problem(3, n_class=2, snr=0.1, seed=40))
    local = listed(made, np.tile(np.arange(2), (3, 1)))
    kept = summed(backend, made, local)
    for _ in range(3):
        passing = replace(made, grid=replace(made.grid, one_batch=True))
        found = summed(backend, passing, local)
        np.testing.assert_allclose(found[0].log_evidence, kept[0].log_evidence, rtol=100 * eps)
        np.testing.assert_allclose(
            found[2].volume, kept[2].volume, atol=1000 * eps * np.abs(kept[2].volume).max()
        )
        assert id(passing.grid) not in getattr(backend, "_grids", ())


def test_directions_need_not_be_counted(backend, eps):
    made = problem(3, n_class=2, snr=0.1, seed=41)
    _, counted, expected = summed(backend, made)
    sums = backend.new_sums(2, 0, BOX // 2, 2, made.quanta)
    _, moments = made.search(backend, sums)
    host = backend.fetch_sums(sums)
    assert host.direction_weight.shape == (2, 0)
    np.testing.assert_allclose(moments.class_weight, counted.class_weight, atol=100 * eps)
    np.testing.assert_allclose(
        host.volume, expected.volume, atol=1000 * eps * np.abs(expected.volume).max()
    )
