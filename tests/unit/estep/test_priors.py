import numpy as np
from factories.plans import batch, expectation

from relion_mpi.backend.protocol import GlobalPrior, LocalPrior
from relion_mpi.estep.priors import listed_for_classes, prior_of_class, relative_log
from relion_mpi.sampling.local import LocalSearch

NEAR = LocalSearch(np.array([0, 2, 3, 6]), np.array([4, 7, 1, 0, 2, 5]), np.arange(6) / 10)


def rows_of(prior, i):
    mine = slice(prior.offsets[i], prior.offsets[i + 1])
    return prior.hypothesis[mine].tolist(), prior.log_prior[mine].tolist()


def test_orientations_are_listed_for_each_class_of_an_image():
    classes = np.array([[0, 1], [1, 2], [0, 2]])
    prior = listed_for_classes(NEAR, classes, 10, np.zeros((3, 1)))
    assert rows_of(prior, 0) == ([4, 7, 14, 17], [0.0, 0.1, 0.0, 0.1])
    assert rows_of(prior, 1) == ([11, 21], [0.2, 0.2])
    assert rows_of(prior, 2) == ([0, 2, 5, 20, 22, 25], [0.3, 0.4, 0.5] * 2)


def test_one_class_alone_lists_what_is_near():
    prior = listed_for_classes(NEAR, np.zeros((3, 1), np.int64), 10, np.zeros((3, 1)))
    assert prior.hypothesis is NEAR.orient
    assert prior.offsets is NEAR.offsets


def test_the_prior_of_a_class_excludes_the_others_and_has_mean_one():
    pdf = np.array([[0.1, 0.3], [0.0, 0.6]])
    prior = prior_of_class(pdf, 0)
    np.testing.assert_allclose(np.exp(prior[0]), [0.5, 1.5])
    assert np.isneginf(prior[1]).all()
    assert np.isneginf(relative_log(pdf)[1, 0])


def test_chosen_particles_keep_their_own_priors():
    rng = np.random.default_rng(1)
    images = rng.normal(size=(6, 32, 32)).astype(np.float32)
    for kind, sigma in ((GlobalPrior, None), (LocalPrior, 15.0)):
        estep = expectation(1e-2, n_class=2, local_sigma_deg=sigma)
        particles = batch(6, seed=2)
        whole = estep.prepare(particles, images)
        assert isinstance(whole.prior, kind)
        for rows in (np.array([4, 0, 3]), slice(2, 5)):
            index = np.arange(6)[rows]
            found = whole.chosen(rows)
            expected = estep.prepare(particles.part(index), images[index])
            np.testing.assert_array_equal(found.images, expected.images)
            np.testing.assert_array_equal(found.batch.particle, index)
            for name in kind.__slots__:
                np.testing.assert_array_equal(
                    getattr(found.prior, name), getattr(expected.prior, name)
                )
