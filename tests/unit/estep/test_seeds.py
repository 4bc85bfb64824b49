from dataclasses import replace

import numpy as np
import pytest
from factories.plans import BOX, batch, expectation

from relion_mpi.estep.seeds import seeded_classes
from relion_mpi.estep.sums import HalfSums

NOISE = 3.0
WAYS = [
    {}, {"metric": "cc"}, {"local_sigma_deg": 25.0}, {"local_sigma_deg": 25.0, "metric": "cc"},
    {"skip_align": True},
]  # fmt: skip


def made(n=8, **changes):
    estep = expectation(
        NOISE**2 / (2 * BOX**2), n_class=3, seeded=True, random_seed=5, **changes
    )
    images = np.random.default_rng(1).normal(0, NOISE, (n, BOX, BOX)).astype(np.float32)
    return estep, images, replace(batch(n, seed=4), particle=np.arange(n) * 7 + 3)


def run(estep, images, particles, groups):
    sums = HalfSums(estep.backend, estep.plan, 0)
    found = [
        estep.run(estep.prepare(particles.part(rows), images[rows]), sums) for rows in groups
    ]
    return found, sums.arrays(), sums.statistics


def test_classes_are_drawn_evenly_from_seed_and_particle():
    particle = np.arange(3000)
    drawn = seeded_classes(1, particle, 3)
    assert np.bincount(drawn).min() > 900
    np.testing.assert_array_equal(seeded_classes(1, particle[[7, 3]], 3), drawn[[7, 3]])
    assert (seeded_classes(2, particle, 3) != drawn).mean() > 0.5


@pytest.mark.parametrize("way", WAYS)
def test_every_particle_takes_part_in_its_class_only(way):
    estep, images, particles = made(**way)
    drawn = seeded_classes(5, particles.particle, 3)
    assert set(drawn) == {0, 1, 2}
    (found,), _, statistics = run(estep, images, particles, [np.arange(8)])
    np.testing.assert_array_equal(found.class_number, drawn + 1)
    np.testing.assert_allclose(statistics.class_weight, np.bincount(drawn), atol=1.1e-3 * 8)
    np.testing.assert_allclose(
        statistics.direction_weight.sum(axis=1), statistics.class_weight, rtol=1e-6
    )


@pytest.mark.parametrize("way", WAYS)
def test_seeds_do_not_depend_on_the_batches(way):
    estep, images, particles = made(**way)
    (whole,), arrays, _ = run(estep, images, particles, [np.arange(8)])
    groups = [np.array([5, 2, 7]), np.array([0, 1]), np.array([6, 4, 3])]
    parts, others, _ = run(estep, images, particles, groups)
    np.testing.assert_array_equal(arrays[0], others[0])
    # What a batch adds is rounded to steps far below float32.
    np.testing.assert_allclose(arrays[1], others[1], rtol=1e-7, atol=1e-4)
    for rows, part in zip(groups, parts, strict=True):
        for name in ("euler_deg", "origin_angst", "class_number", "n_significant"):
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[rows])
        np.testing.assert_allclose(part.log_likelihood, whole.log_likelihood[rows])


def test_one_class_is_searched_as_if_it_were_alone():
    estep, images, particles = made()
    drawn = seeded_classes(5, particles.particle, 3)
    (whole,), _, _ = run(estep, images, particles, [np.arange(8)])
    half = estep.plan.halves[0]
    for k in range(3):
        pdf = np.zeros_like(half.pdf_direction)
        pdf[k] = half.pdf_direction[k]
        alone = expectation(NOISE**2 / (2 * BOX**2), n_class=3, random_seed=5)
        plan = replace(alone.plan, halves=(replace(half, pdf_direction=pdf),))
        alone = type(estep)(alone.backend, plan, alone.references)
        (found,), _, _ = run(alone, images, particles, [np.flatnonzero(drawn == k)])
        np.testing.assert_array_equal(found.euler_deg, whole.euler_deg[drawn == k])
        # The mean prior is over all classes here, over one there.
        np.testing.assert_allclose(
            found.log_likelihood - np.log(3), whole.log_likelihood[drawn == k], atol=1e-6
        )
