"""Every number of an E-step, bit for bit, whatever the order and the company of batches."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from factories.maps import blob_map
from factories.pixels import geometry
from factories.poses import random_matrices
from factories.problem import BOX, problem

from relion_mpi.backend import select_backend

BATCHES = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


@pytest.fixture(scope="module", params=["gauss", "cc"])
def noisy(request):
    """Flat posteriors: many samples of many shifts add to the same voxels."""
    return problem(12, n_class=2, snr=0.02, seed=21, metric=request.param)


def done(backend, made, batches):
    """Sums of batches one after the other, and what each of them gave."""
    sums = made.new_sums(backend)
    given = [made.only(rows).search(backend, sums) for rows in batches]
    return backend.fetch_sums(sums), given


def same_sums(a, b):
    for name in ("volume", "direction_weight"):
        one, other = getattr(a, name), getattr(b, name)
        assert one.dtype == np.float64
        assert one.tobytes() == other.tobytes(), name


def same_records(a, b):
    for one, other in zip(a, b, strict=True):
        for name in type(one).__slots__:
            first, second = np.asarray(getattr(one, name)), np.asarray(getattr(other, name))
            assert first.tobytes() == second.tobytes(), f"{type(one).__name__}.{name}"


def test_sums_are_the_same_in_any_order_of_batches(deterministic, noisy):
    first, _ = done(deterministic, noisy, BATCHES)
    second, _ = done(deterministic, noisy, [BATCHES[2], BATCHES[0], BATCHES[1]])
    assert first.volume.any()
    same_sums(first, second)


def test_sums_of_two_ranks_add_up_to_those_of_one(deterministic, noisy):
    whole, _ = done(deterministic, noisy, BATCHES)
    parts = [done(deterministic, noisy, part)[0] for part in (BATCHES[:1], BATCHES[1:])]
    for name in ("volume", "direction_weight"):
        added = getattr(parts[1], name) + getattr(parts[0], name)
        assert added.tobytes() == getattr(whole, name).tobytes(), name


def test_a_batch_gives_the_same_numbers_every_time(deterministic, noisy):
    _, (first,) = done(deterministic, noisy, BATCHES[:1])
    for _ in range(4):
        _, (again,) = done(deterministic, noisy, BATCHES[:1])
        same_records(first, again)


def test_threads_that_work_at_once_give_the_numbers_of_one(deterministic, noisy):
    alone, given = done(deterministic, noisy, BATCHES)
    sums = noisy.new_sums(deterministic)
    references = noisy.references(deterministic)
    deterministic.synchronise()

    def work(rows):
        made = noisy.only(rows)
        deterministic.attach()
        handle = made.prepare(deterministic)
        found = deterministic.search_global(
            handle, references, made.grid, made.prior, made.likelihood
        )
        posterior, best = deterministic.search_fine(
            handle, references, made.grid, found, made.likelihood
        )
        return best, deterministic.accumulate(
            handle, references, made.grid, posterior, made.likelihood, sums
        )

    # numba's threads take one caller at a time.
    with ThreadPoolExecutor(1 if deterministic.name == "cpu" else 3) as threads:
        together = list(threads.map(work, BATCHES))
    deterministic.synchronise()
    same_sums(alone, deterministic.fetch_sums(sums))
    for one, other in zip(given, together, strict=True):
        same_records(one, other)


def test_sums_are_those_of_the_default_to_rounding(deterministic, noisy):
    default = select_backend(deterministic.name, deterministic.precision)
    exact, given = done(deterministic, noisy, BATCHES)
    rounded, others = done(default, noisy, BATCHES)
    eps = 2.0**-49 if deterministic.precision == "float64" else 2.0**-23
    # Thousands of additions to a voxel, each rounded by up to half a step.
    steps = 100 * max(noisy.quanta.data, noisy.quanta.weight)
    for name in ("volume", "direction_weight"):
        one, other = getattr(exact, name), getattr(rounded, name)
        atol = steps + 100 * eps * np.abs(other).max()
        np.testing.assert_allclose(one, other, rtol=0, atol=atol)
    for (best, moments), (other_best, other_moments) in zip(given, others, strict=True):
        np.testing.assert_array_equal(best.fine_direction, other_best.fine_direction)
        np.testing.assert_array_equal(best.n_significant, other_best.n_significant)
        for name in ("cross", "power", "class_weight", "shift_weight"):
            one, other = getattr(moments, name), getattr(other_moments, name)
            # Weights of slices are counted in steps of 2^-48: each may be off by half of one.
            counted = 100 * 2.0**-49 if name.endswith("weight") else 0.0
            atol = counted + 100 * eps * np.abs(other).max()
            np.testing.assert_allclose(one, other, rtol=0, atol=atol)


def test_exact_sums_are_multiples_of_their_steps(deterministic, noisy):
    host, _ = done(deterministic, noisy, BATCHES)
    quanta = noisy.quanta
    for values, step in (
        (host.volume[..., :2], quanta.data), (host.volume[..., 2], quanta.weight),
        (host.direction_weight, quanta.share),
    ):  # fmt: skip
        np.testing.assert_array_equal(values, np.rint(values / step) * step)
        assert values.any()


def test_power_spectra_are_the_same_every_time(deterministic, noisy):
    first = deterministic.power_spectra(noisy.prepare(deterministic))
    for _ in range(4):
        again = deterministic.power_spectra(noisy.prepare(deterministic))
        assert first.tobytes() == again.tobytes()


def test_distances_of_slices_are_the_same_every_time(deterministic):
    pixels = geometry(BOX)
    references = deterministic.load_references(blob_map(BOX)[None], BOX // 2, 2)
    first, second = random_matrices(8, 1), random_matrices(24, 2).reshape(8, 3, 3, 3)
    weight = np.random.default_rng(3).uniform(size=(8, pixels.n_pix))
    found = {
        deterministic.slice_distances(references, first, second, weight, pixels).tobytes()
        for _ in range(5)
    }
    assert len(found) == 1
