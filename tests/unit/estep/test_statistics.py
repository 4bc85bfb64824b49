from dataclasses import fields

import numpy as np

from relion_mpi.model.statistics import Statistics


def filled():
    sums = Statistics.empty(2, 5, 3, 2, 4)
    rng = np.random.default_rng(0)
    for field in fields(sums):
        getattr(sums, field.name)[...] = rng.normal(size=getattr(sums, field.name).shape)
    return sums


def test_packing_and_filling_is_a_round_trip():
    sums, other = filled(), Statistics.empty(2, 5, 3, 2, 4)
    other.fill_from(sums.packed())
    for field in fields(sums):
        np.testing.assert_array_equal(getattr(other, field.name), getattr(sums, field.name))


def test_packed_sums_add_like_sums():
    sums, other = filled(), Statistics.empty(2, 5, 3, 2, 4)
    other.fill_from(sums.packed() + sums.packed())
    np.testing.assert_allclose(other.noise, 2 * sums.noise)
    np.testing.assert_allclose(other.totals, 2 * sums.totals)


def test_the_vector_holds_every_number_once():
    assert filled().packed().size == 2 * 5 + 2 + 3 + 3 + 2 + 2 * 4 + 8
