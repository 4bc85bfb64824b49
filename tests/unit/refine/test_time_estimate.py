"""Time to convergence from measured seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from relion_mpi.refine.calibration import Rates, measure_estep, measure_mstep
from relion_mpi.refine.options import RefineOptions
from relion_mpi.refine.time_estimate import (
    BROAD,
    FIRST_ORDER,
    LATER_ORDER,
    LOCAL,
    START_SECONDS,
    TimeEstimate,
    estimate,
    rests_on,
)

RATES = Rates((0.01, 0.1), 0.02)


def test_the_parts_are_those_of_the_assumed_course():
    found = estimate(1000, [RATES], 2.0)
    exhaustive = (FIRST_ORDER - 1 + BROAD) * 10 + LATER_ORDER * 100
    n = FIRST_ORDER + LATER_ORDER + LOCAL
    assert found.n_iterations == n == 15
    assert found.seconds == pytest.approx(exhaustive + LOCAL * 20 + n * 2 + START_SECONDS)


def test_two_equal_ranks_halve_the_work_but_not_the_rest():
    one, two = (estimate(1000, [RATES] * n, 2.0).seconds for n in (1, 2))
    rest = 15 * 2.0 + START_SECONDS
    assert two - rest == pytest.approx((one - rest) / 2)


def test_a_slow_rank_does_less():
    slow = Rates((0.03, 0.3), 0.06)
    both = estimate(1000, [RATES, slow], 0.0).seconds - START_SECONDS
    alone = estimate(1000, [RATES], 0.0).seconds - START_SECONDS
    assert both == pytest.approx(0.75 * alone)


def test_local_searches_from_the_start_need_no_exhaustive_ones():
    found = estimate(100, [Rates((), 0.02)], 0.0)
    assert found.seconds == pytest.approx(LOCAL * 2 + START_SECONDS)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(30, "about 30 s (20 s to 60 s)"), (720, "about 12 min (8 min to 24 min)"),
     (7200, "about 2.0 h (80 min to 4.0 h)"), (72000, "about 20 h (13 h to 40 h)")],
)  # fmt: skip
def test_a_time_is_told_with_its_range(seconds, text):
    assert str(TimeEstimate(seconds, 15)) == text
    assert "15 iterations" in rests_on(TimeEstimate(seconds, 15))


def test_every_part_of_a_small_box_is_measured():
    options = RefineOptions(
        i=Path(), o=Path(), ref=Path(), healpix_order=1, auto_local_healpix_order=2, sym="D2",
        particle_diameter=80.0,
    )  # fmt: skip
    rates = measure_estep(options, 24, 4.0)
    assert len(rates.exhaustive) == 1
    assert min(*rates.exhaustive, rates.local) > 0
    assert measure_mstep(options, 24) > 0
