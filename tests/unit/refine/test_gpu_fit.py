"""How a refinement is made to fit a GPU, or refused."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import pytest

from relion_mpi.backend.gpu.device import CONTEXT_BYTES
from relion_mpi.backend.limits import SMALLEST_BYTES, Limits
from relion_mpi.core.errors import InputError
from relion_mpi.refine.gpu_fit import (
    advice,
    fit,
    fits,
    largest_box,
    least,
    refusal,
    shrinkings,
    with_box,
)
from relion_mpi.refine.gpu_memory import GIB, GpuJob, gpu_need

JOB = GpuJob(256, batch_size=500, searches=((4608, 28), (36864, 48)))
SMALL = replace(Limits(), tile_bytes=SMALLEST_BYTES)


def test_with_room_enough_nothing_is_made_smaller():
    found = fit(int(80 * GIB), JOB)
    assert (found.limits, found.job) == (Limits(), JOB)
    assert found.need.working <= 80 * GIB


def test_kept_slices_are_given_up_first_then_scores_then_slices_then_the_batch():
    steps = list(shrinkings(40))
    names = ["tile_bytes", "score_bytes", "slice_bytes"]
    values = [(*(getattr(limits, name) for name in names), batch) for limits, batch in steps]
    changed = [
        next(i for i in range(4) if a[i] != b[i])
        for a, b in pairwise(values)
    ]
    assert changed == sorted(changed)
    assert set(changed) == {0, 1, 2, 3}
    assert values[-1] == (SMALLEST_BYTES, SMALLEST_BYTES, SMALLEST_BYTES, 16)


def test_a_batch_that_is_small_already_stays():
    assert {batch for _, batch in shrinkings(3)} == {3}


def test_kept_slices_alone_go_where_that_is_enough():
    room = gpu_need(JOB, Limits()).working - 1
    found = fit(room, JOB)
    assert found.limits.tile_bytes < Limits().tile_bytes
    assert found.limits.score_bytes == Limits().score_bytes
    assert found.job.batch_size == JOB.batch_size


def test_the_batch_shrinks_last():
    limits = Limits(SMALLEST_BYTES, SMALLEST_BYTES, SMALLEST_BYTES)
    room = gpu_need(JOB, limits).working - 1
    found = fit(room, JOB)
    assert found.limits == limits
    assert 16 <= found.job.batch_size < JOB.batch_size
    assert found.need.working <= room


def test_what_just_fits_is_taken_and_a_byte_less_refused():
    room = least(JOB).working
    assert fit(room, JOB).job.batch_size == 16
    with pytest.raises(InputError, match="GiB of GPU memory"):
        fit(room - 1, JOB)


def test_the_largest_box_fits_and_the_next_does_not():
    box = largest_box(int(24 * GIB), JOB)
    assert box % 2 == 0
    assert fits(int(24 * GIB), with_box(JOB, box))
    assert not fits(int(24 * GIB), with_box(JOB, box + 2))


def test_no_box_fits_nothing():
    assert largest_box(0, JOB) == 0


def test_the_largest_box_shrinks_with_classes():
    boxes = [largest_box(int(24 * GIB), replace(JOB, n_class=k)) for k in (1, 2, 4, 8)]
    assert boxes == sorted(boxes, reverse=True)
    assert len(set(boxes)) == 4


# The refusal

BIG = GpuJob(400, n_class=6, precision="float64", batch_size=100, searches=JOB.searches)


def number(pattern, text):
    return float(re.search(pattern, text).group(1))


def test_a_refusal_says_what_is_needed_what_is_there_and_the_largest_part():
    text = refusal(int(20 * GIB), BIG)
    assert number(r"needs ([\d.]+) GiB", text) == pytest.approx(least(BIG).working / GIB, abs=0.1)
    assert "but 20.0 GiB are free" in text
    assert f"sums with {least(BIG).sums / GIB:.1f} GiB" in text


@pytest.mark.parametrize("room_gib", [6, 20, 36])
@pytest.mark.parametrize("n_sharing", [1, 4])
def test_every_advice_holds_when_it_is_followed(room_gib, n_sharing):
    room = int(room_gib * GIB)
    for words in advice(room, BIG, n_sharing):
        changes, more = {}, room
        if "class" in words:
            changes["n_class"] = int(words.split()[0])
        elif words.startswith("--pad"):
            changes["padding"] = int(words.split()[1])
        elif words.startswith("--auto_local_healpix_order"):
            changes["searches"] = BIG.searches[: -int(number(r"by (\d+)", words))]
        elif words.startswith("--precision"):
            changes["precision"] = "float32"
        elif "instead of" in words:
            more = (room - CONTEXT_BYTES) * n_sharing // int(words.split()[0]) + CONTEXT_BYTES
        elif words.startswith("images binned"):
            changes["box_size"] = int(number(r"to (\d+) pixels", words))
        elif words.startswith("a GPU with"):
            more = int(number(r"with (\d+) GiB", words) * GIB / n_sharing)
        else:
            assert words == "the CPU, without --gpu"
            continue
        job = replace(BIG, **changes)
        assert fits(more, job), words
        if changes:
            assert number(r"needs ([\d.]+) GiB", words) >= least(job).working / GIB


def test_exhaustive_searches_that_are_too_fine_are_blamed():
    wide = replace(JOB, searches=(*JOB.searches, (1_207_959_552, 256)))
    advised = advice(int(80 * GIB), wide)
    assert advised[0].startswith("--auto_local_healpix_order lower by 1 (needs")


def test_advice_that_would_not_help_is_not_given():
    text = refusal(int(2 * GIB), BIG)
    assert "--pad" not in text.split("What would", 1)[1]
    assert "--precision float32" not in text
    assert "class(es) (" not in text


def test_fewer_ranks_are_advised_only_where_several_share_the_gpu():
    room = int(least(JOB).working * 0.7)
    assert "1 rank(s) on this GPU instead of 2" in refusal(room, JOB, 2)
    assert "instead of" not in refusal(room, JOB, 1)


def test_an_m_step_without_room_is_no_reason_to_refuse():
    job = GpuJob(360, batch_size=16, searches=JOB.searches)
    found = fit(least(job).working, job)
    assert found.need.maximisation > found.room
    assert not found.mstep_fits
    assert fit(int(80 * GIB), job).mstep_fits


# Deterministic runs

FIXED = replace(JOB, deterministic=True)
OF_KIND = int(40 * GIB)


def bits(found):
    """What decides the last digits."""
    return found.limits.score_bytes, found.limits.slice_bytes, found.job.batch_size


def test_a_deterministic_run_does_the_same_whatever_is_free():
    whole = fit(int(38 * GIB), FIXED, of_kind=OF_KIND)
    less = fit(whole.need.working - 1, FIXED, of_kind=OF_KIND)
    assert bits(whole) == bits(less)
    assert less.limits.tile_bytes < whole.limits.tile_bytes
    assert less.need.working < whole.need.working


def test_a_deterministic_run_is_made_to_fit_the_kind_of_gpu():
    small = fit(int(80 * GIB), FIXED, of_kind=least(FIXED).working)
    assert small.job.batch_size == 16
    assert bits(small) != bits(fit(int(80 * GIB), FIXED, of_kind=OF_KIND))


def test_a_deterministic_run_is_refused_rather_than_changed():
    kept = replace(FIXED, searches=())  # no coarse slices that could be drawn again
    need = fit(int(80 * GIB), kept, of_kind=OF_KIND).need.working
    with pytest.raises(InputError, match=r"--deterministic: .* start fewer ranks on it \(now 3\)"):
        fit(need - 1, kept, 3, OF_KIND)


def test_a_deterministic_run_that_no_such_gpu_holds_is_refused_with_advice():
    with pytest.raises(InputError, match="What would make it fit"):
        fit(int(80 * GIB), FIXED, of_kind=least(FIXED).working - 1)
