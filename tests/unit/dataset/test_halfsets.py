import logging

import numpy as np
import pytest

from relion_mpi.core.errors import InputError
from relion_mpi.dataset.halfsets import assign_half_sets
from relion_mpi.dataset.particles import read_particles


@pytest.fixture
def particles(project):
    return read_particles(project.path, project.folder)


def test_half_sets_of_the_file_are_kept(particles):
    particles.half[:] = [1, 1, 2] * 4
    assert "8 and 4" in assign_half_sets(particles, 1)
    assert particles.half.tolist() == [1, 1, 2] * 4


def test_a_random_split_is_even_and_repeatable(particles):
    assign_half_sets(particles, 7)
    first = particles.half.copy()
    assert np.bincount(first).tolist() == [0, 6, 6]
    particles.half[:] = 0
    assign_half_sets(particles, 7)
    np.testing.assert_array_equal(particles.half, first)
    particles.half[:] = 0
    assign_half_sets(particles, 8)
    assert (particles.half != first).any()


@pytest.mark.parametrize("only", [1, 2])
def test_one_half_only_is_split_anew_with_a_warning(particles, only, caplog):
    particles.half[:] = only
    with caplog.at_level(logging.WARNING):
        assign_half_sets(particles, 1)
    assert f"is {only} for every particle" in caplog.text
    assert set(particles.half.tolist()) == {1, 2}


def test_one_particle_cannot_be_split(project):
    project.table = project.table.head(1)
    single = read_particles(project.write(), project.folder)
    with pytest.raises(InputError, match="two or more"):
        assign_half_sets(single, 1)
