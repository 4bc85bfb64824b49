"""Both passes against a sum over every sample in double precision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from factories.problem import BruteForce, problem

from relion_mpi.backend.protocol import LocalPrior


def tolerance(made, eps):
    """n_pix roundings of terms that sum to the largest score, and what a backend may leave out.

    Samples that together weigh less than 1e-6 of the best need not be counted.
    """
    largest = max(np.abs(BruteForce(made, None).images_ft()).max() ** 2 / made.sigma2.min(), 1.0)
    return made.geometry.n_pix * eps * largest + 1e-6


def check(backend, eps, made, local=None):
    brute = BruteForce(made, backend)
    best, _ = made.search(backend, local=local)
    atol = tolerance(made, eps)
    for i in range(made.n_img):
        scores = brute.fine(i)
        assert best.n_significant[i] == brute.significant(i).sum()
        top = np.unravel_index(scores.argmax(), scores.shape)
        found = (
            best.class_index[i], best.fine_direction[i], best.fine_psi[i], best.fine_shift[i],
        )  # fmt: skip
        assert found == top
        if made.metric == "cc":
            np.testing.assert_allclose(best.log_evidence[i], scores.max(), rtol=100 * eps)
            continue
        total = np.logaddexp.reduce(scores.ravel())
        np.testing.assert_allclose(best.log_evidence[i], total, atol=atol)
        np.testing.assert_allclose(best.max_weight[i], np.exp(scores.max() - total), atol=atol)


@pytest.mark.parametrize("snr", [0.03, 0.3, 3.0])
def test_both_passes_agree_with_brute_force(backend, eps, snr):
    made = problem(snr=snr, seed=1)
    counts = [BruteForce(made, backend).significant(i).sum() for i in range(made.n_img)]
    assert snr > 1 or max(counts) > 3  # the cut has something to choose
    check(backend, eps, made)


def test_several_classes_compete_for_an_image(backend, eps):
    made = problem(6, n_class=2, snr=0.1, seed=2)
    check(backend, eps, made)
    best, _ = made.search(backend)
    assert set(best.class_index) == {0, 1}


def test_the_search_takes_the_masked_image(backend, eps):
    made = problem(seed=3)
    check(backend, eps, replace(made, mask=replace(made.mask, radius_pix=4.0, edge_pix=3.0)))


def test_the_number_of_significant_samples_can_be_limited(backend, eps):
    made = problem(snr=0.03, seed=1, max_significants=3)
    check(backend, eps, made)
    best, _ = made.search(backend)
    assert best.n_significant.max() == 3


def test_cross_correlation_keeps_the_single_best_sample(backend, eps):
    made = problem(seed=4, metric="cc", n_class=2)
    check(backend, eps, made)
    best, moments = made.search(backend, made.new_sums(backend))
    assert (best.n_significant == 1).all()
    np.testing.assert_allclose(moments.class_weight.sum(axis=1), 1.0, rtol=1e-6)


def test_directions_without_prior_are_never_chosen(backend):
    made = problem(snr=0.03, seed=5)
    direction = made.prior.direction.copy()
    direction[:, ::2] = -np.inf
    made = replace(made, prior=replace(made.prior, direction=direction))
    sums = made.new_sums(backend)
    made.search(backend, sums)
    weight = backend.fetch_sums(sums).direction_weight
    assert (weight[:, ::2] == 0).all()
    assert weight.sum() > 0


def every_orientation(made):
    """A local prior that lists what the global one covers."""
    n, n_orient = made.n_img, made.grid.n_orient
    log_prior = np.tile(np.repeat(made.prior.direction[0], made.grid.n_psi), n)
    return LocalPrior(
        np.arange(n + 1) * n_orient, np.tile(np.arange(n_orient), n), log_prior, made.prior.shift
    )


def test_a_local_search_of_all_orientations_is_the_global_one(backend, eps):
    made = problem(snr=0.1, seed=6)
    check(backend, eps, made, every_orientation(made))


def test_a_local_search_sees_only_what_is_listed(backend, eps):
    made = problem(snr=0.1, seed=6)
    first = np.arange(N_FIRST := 2 * made.grid.n_psi)
    everything = every_orientation(made)
    local = replace(
        everything,
        offsets=np.arange(made.n_img + 1) * N_FIRST,
        hypothesis=np.tile(first, made.n_img),
        log_prior=np.tile(everything.log_prior[:N_FIRST], made.n_img),
    )
    direction = made.prior.direction.copy()
    direction[:, 2:] = -np.inf
    restricted = replace(made, prior=replace(made.prior, direction=direction))
    check(backend, eps, restricted, local)


def test_noise_free_images_of_grid_points_are_certain(backend):
    made = problem(8, snr=1e4, seed=7)
    best, _ = made.search(backend)
    assert best.max_weight.min() > 0.999
    truth = BruteForce(made, backend)
    for i in range(made.n_img):
        assert truth.fine(i).argmax() == np.ravel_multi_index(
            (0, best.fine_direction[i], best.fine_psi[i], best.fine_shift[i]),
            truth.fine(i).shape,
        )


def test_results_do_not_depend_on_the_batch(backend):
    made = problem(5, snr=0.1, seed=8)
    whole, _ = made.search(backend)
    for i in range(made.n_img):
        alone, _ = made.only([i]).search(backend)
        assert alone.fine_direction[0] == whole.fine_direction[i]
        assert alone.n_significant[0] == whole.n_significant[i]
        np.testing.assert_allclose(alone.log_evidence[0], whole.log_evidence[i], rtol=1e-5)
