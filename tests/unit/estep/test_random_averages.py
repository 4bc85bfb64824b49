from dataclasses import replace

import numpy as np
from factories.plans import BOX, batch, expectation
from scipy import ndimage

from relion_mpi.estep.random_averages import random_expectation, random_plan, random_poses
from relion_mpi.estep.seeds import seeded_classes
from relion_mpi.estep.sums import HalfSums
from relion_mpi.mstep.planes import average_planes

N_CLASS = 3


def the_pass():
    made = expectation(1.0, planar=True, n_class=N_CLASS, apply_ctf=False, correct_norm=False)
    half = made.plan.halves[0]
    lopsided = half.pdf_direction * np.array([[3.0], [0.0], [0.0]])
    plan = random_plan(replace(made.plan, halves=(replace(half, pdf_direction=lopsided),)))
    return random_expectation(made.backend, plan)


def summed(estep, images, particles, parts):
    sums = HalfSums(estep.backend, estep.plan, 0)
    for rows in parts:
        mine = random_poses(particles.part(rows), 5)
        estep.run(estep.prepare(mine, images[rows]), sums)
    return sums.arrays()[0].reshape(N_CLASS, -1, 3), sums.statistics


def disc(radius=6.0):
    axis = np.arange(BOX) - BOX // 2
    distance = np.hypot(axis[:, None], axis)
    return 1 / (1 + np.exp(2 * (distance - radius)))


def test_every_particle_goes_to_the_class_drawn_for_it():
    estep = the_pass()
    images = np.random.default_rng(0).normal(size=(12, BOX, BOX)).astype(np.float32)
    particles = replace(batch(12), particle=np.arange(40, 52))
    rows, statistics = summed(estep, images, particles, [slice(None)])
    classes = seeded_classes(estep.plan.images.random_seed, particles.particle, N_CLASS)
    drawn = np.bincount(classes, minlength=N_CLASS)
    np.testing.assert_allclose(statistics.class_weight, drawn, atol=1e-6)
    weight = rows[..., 2].sum(axis=1)
    np.testing.assert_allclose(weight / weight.sum(), drawn / 12, atol=1e-6)


def test_sums_do_not_depend_on_batches():
    estep = the_pass()
    images = np.random.default_rng(1).normal(size=(7, BOX, BOX)).astype(np.float32)
    particles = batch(7)
    whole, _ = summed(estep, images, particles, [slice(None)])
    parts, _ = summed(estep, images, particles, [slice(4, 7), slice(0, 4)])
    np.testing.assert_array_equal(parts, whole)


def test_a_round_particle_survives_and_what_is_not_round_is_smeared():
    estep = the_pass()
    n, rng = 90, np.random.default_rng(2)
    round_one = disc()
    axis = np.arange(BOX) - BOX // 2
    lobed = round_one * axis / 6.0
    # Offsets are undone: particles lie off the centre by what they say.
    origin = rng.integers(-2, 3, (n, 2))
    images = np.stack([
        ndimage.shift(round_one + lobed, (-y, -x), order=1) for x, y in origin
    ]).astype(np.float32)  # fmt: skip
    particles = replace(batch(n, 2), origin_angst=3.0 * origin)
    rows, _ = summed(estep, images, particles, [slice(0, 45), slice(45, 90)])
    averages = average_planes(rows, BOX, BOX // 2, 2)
    for one in averages:
        assert np.corrcoef(one.ravel(), round_one.ravel())[0, 1] > 0.97
        left = (one * lobed).sum() / (lobed * lobed).sum()
        assert abs(left) < 0.4


def test_angles_depend_on_the_particle_and_the_seed_and_offsets_stay():
    particles = replace(batch(6), origin_angst=np.arange(12.0).reshape(6, 2))
    turned = random_poses(particles, 1)
    np.testing.assert_array_equal(turned.origin_angst, particles.origin_angst)
    np.testing.assert_array_equal(turned.euler_deg[:, :2], 0.0)
    part = random_poses(particles.part(slice(3, 6)), 1)
    np.testing.assert_array_equal(part.euler_deg, turned.euler_deg[3:])
    assert np.unique(turned.euler_deg[:, 2]).size == 6
    assert (random_poses(particles, 2).euler_deg[:, 2] != turned.euler_deg[:, 2]).all()
