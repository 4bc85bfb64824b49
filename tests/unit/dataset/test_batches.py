import numpy as np
import pytest

from relion_mpi.dataset.batches import make_batches
from relion_mpi.dataset.particles import read_particles


@pytest.fixture
def particles(project):
    p = read_particles(project.path, project.folder)
    p.half[:] = [1, 2, 2, 1, 2, 2] * 2
    return p


def test_every_particle_is_in_one_batch(particles):
    batches = make_batches(particles, 2, seed=1)
    np.testing.assert_array_equal(
        np.sort(np.concatenate([b.particles for b in batches])), range(12)
    )
    assert [b.index for b in batches] == list(range(len(batches)))


def test_a_batch_is_of_one_half_and_one_optics_group_and_not_too_large(particles):
    for batch in make_batches(particles, 3, seed=1):
        assert batch.particles.size <= 3
        assert (particles.half[batch.particles] == batch.half).all()
        assert np.unique(particles.optics_group[batch.particles]).size == 1


def test_rows_of_a_batch_are_in_the_order_of_the_files(particles):
    for batch in make_batches(particles, 100, seed=1):
        keys = particles.stack_file[batch.particles] * 1000 + particles.image_index[batch.particles]
        assert (np.diff(keys) > 0).all()


def test_halves_proceed_together(particles):
    particles.optics_group[:] = 0
    particles.half[:] = [1] * 6 + [2] * 6
    halves = [batch.half for batch in make_batches(particles, 1, seed=1)]
    assert halves == [1, 2] * 6


def test_batches_without_halves_are_of_half_zero(particles):
    particles.half[:] = 0
    assert {batch.half for batch in make_batches(particles, 4, seed=1)} == {0}


def test_the_seed_changes_the_order_alone(particles):
    def batches(seed):
        return [tuple(b.particles.tolist()) for b in make_batches(particles, 1, seed)]

    assert batches(1) == batches(1)
    assert batches(1) != batches(2)
    assert sorted(batches(1)) == sorted(batches(2))


def test_a_batch_size_of_zero_is_refused(particles):
    with pytest.raises(ValueError, match="1 or more"):
        make_batches(particles, 0, seed=1)
