"""Random perturbation of the grids."""

from __future__ import annotations

import numpy as np

from relion_mpi.sampling.perturbation import next_perturbation


def test_values_stay_within_the_factor_and_move_by_half_of_it_at_least():
    rng = np.random.default_rng(0)
    factor, value = 0.5, 0.0
    for _ in range(1000):
        following = next_perturbation(value, factor, rng)
        step = (following - value) % (2 * factor)
        assert -factor <= following <= factor
        assert factor / 2 - 1e-12 <= step <= factor + 1e-12
        value = following


def test_the_same_seed_gives_the_same_value():
    values = {next_perturbation(0.1, 0.5, np.random.default_rng(7)) for _ in range(3)}
    assert len(values) == 1


def test_factor_zero_turns_it_off():
    assert next_perturbation(0.3, 0.0, np.random.default_rng(0)) == 0.0
