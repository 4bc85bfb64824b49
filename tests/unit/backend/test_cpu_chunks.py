"""What the CPU backend does in parts is the same in any, and they are no larger than told."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
from factories.problem import problem

from relion_mpi.backend import select_backend
from relion_mpi.backend.cpu import accumulate, heap, posterior
from relion_mpi.backend.cpu.volumes import CPUVolumes
from relion_mpi.backend.volumes import FourierSums
from relion_mpi.fourier.shells import padded_size
from relion_mpi.mstep.reconstruct import reconstruct


def found(made):
    backend = select_backend("cpu", "float32")
    sums = made.new_sums(backend)
    best, moments = made.search(backend, sums)
    host = backend.fetch_sums(sums)
    return [
        best.fine_direction, best.log_evidence, best.n_significant, moments.cross, moments.power,
        moments.class_weight, moments.shift_weight, host.volume, host.direction_weight,
    ]  # fmt: skip


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize(
    ("module", "name"), [(posterior, "SCORE_BYTES"), (accumulate, "SLICE_BYTES")]
)
def test_results_do_not_depend_on_how_much_is_done_at_a_time(monkeypatch, module, name, planar):
    made = problem(5, n_class=2, snr=0.05, seed=3, planar=planar)
    at_once = found(made)
    monkeypatch.setattr(module, name, 1)
    for one, other in zip(at_once, found(made), strict=True):
        np.testing.assert_array_equal(one, other)


def test_rounds_deal_out_every_slice_once_and_no_more_than_the_limit():
    offsets = np.array([0, 7, 7, 8, 30])
    dealt = []
    for mine, first, places in accumulate._rounds(offsets, 6):
        assert places[-1] <= 6
        for image, begin, n in zip(mine, first, np.diff(places), strict=True):
            assert offsets[image] <= begin
            assert begin + n <= offsets[image + 1]
            dealt += range(begin, begin + n)
    assert sorted(dealt) == list(range(30))


def test_a_group_of_images_has_no_more_scores_than_the_limit_but_for_one_image(monkeypatch):
    made = problem(6, n_class=1, snr=0.05, seed=2)
    backend = select_backend("cpu", "float32")
    groups = []
    monkeypatch.setattr(posterior, "SCORE_BYTES", 1)
    whole = posterior.score

    def noted(*arguments, **options):
        groups.append(arguments[2].n_significant.size)
        return whole(*arguments, **options)

    monkeypatch.setattr(posterior, "score", noted)
    made.search(backend, made.new_sums(backend))
    assert groups == [1] * 6


def test_a_transform_is_gone_before_the_map_is_there(monkeypatch):
    size = padded_size(6, 2)
    rng = np.random.default_rng(1)
    data = rng.standard_normal((size, size, size // 2 + 1)) + 0j
    backend, seen = CPUVolumes(), []
    sums = FourierSums(data, np.ones(data.shape), 12, 6, 2, backend)
    divide = backend.divide

    def noted(*arguments):
        made = divide(*arguments)
        seen.append(weakref.ref(made))
        return made

    monkeypatch.setattr(backend, "divide", noted)
    monkeypatch.setattr(
        "relion_mpi.backend.cpu.volumes.mask_outside_to_mean",
        lambda volume, *_: volume if seen[0]() is None else pytest.fail("still there"),
    )
    assert reconstruct(sums, None).shape == (12, 12, 12)
    assert len(seen) == 1


def test_giving_memory_back_is_harmless_without_the_c_librarys_help(monkeypatch):
    monkeypatch.setattr(heap, "_malloc_trim", lambda: None)
    heap.give_back()
