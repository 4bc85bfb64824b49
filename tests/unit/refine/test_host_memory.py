"""Terms of the hosts' memory, against sizes that are known beforehand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from relion_mpi.backend import select_backend
from relion_mpi.backend.protocol import Quanta
from relion_mpi.geometry.symmetry import point_group
from relion_mpi.refine.gpu_memory import GpuJob
from relion_mpi.refine.host_estep import kept_slices, local_grid
from relion_mpi.refine.host_memory import (
    FILE_BYTES,
    HostJob,
    as_far_as,
    host_need,
    peak,
)
from relion_mpi.sampling.orientations import make_orientation_grid

JOB = GpuJob(64, batch_size=16, n_lanes=1, searches=((4608, 24),))


def need(job=JOB, **changes):
    return host_need(HostJob(job, **changes))


def searching(job=JOB):
    (moment,) = (terms for name, terms in need(job).worker.items() if name.startswith("searching"))
    return moment


@pytest.mark.parametrize(("precision", "padding"), [("float32", 1), ("float32", 2), ("float64", 2)])
def test_volumes_are_as_large_as_those_of_the_backend(precision, padding):
    backend = select_backend("cpu", precision)
    references = backend.load_references(np.zeros((1, 24, 24, 24), np.float32), 12, padding)
    sums = backend.new_sums(1, 4, 12, padding, Quanta(1e-9, 1e-9, 1e-9))
    terms = searching(GpuJob(24, padding, precision=precision, searches=((1, 8),)))
    assert terms["references"] == 2 * references.volume.nbytes
    assert terms["sums"] == 2 * sums.volume.nbytes
    # On their way they lie where they were summed.
    assert np.shares_memory(backend.fetch_sums(sums).volume, sums.volume)


def test_twice_the_box_needs_nearly_eight_times_the_volumes():
    small, large = searching(), searching(replace(JOB, box_size=128))
    for name in ("references", "sums"):
        assert large[name] / small[name] == pytest.approx(8, rel=0.06)


def test_coarse_slices_are_kept_as_far_as_the_backend_keeps_them():
    # 4608 orientations, pi / 2 * 12^2 pixels, real and imaginary, float32, two half-sets.
    assert kept_slices(JOB, 4608, 24) == 2 * 4608 * 2 * 227 * 4
    assert kept_slices(JOB, 36864, 64) == 0


def test_a_gpu_spares_the_host_the_volumes():
    assert not any("references" in terms for terms in need(on_gpu=True).worker.values())
    large = replace(JOB, box_size=256)
    assert need(large, on_gpu=True).worker_bytes < need(large).worker_bytes / 2
    assert need(large, on_gpu=True, mstep_on_gpu=True).master_bytes < need(large).master_bytes


def test_a_particle_costs_the_same_wherever_it_is_in_the_table():
    none, some, more = (need(n_particles=n).master_bytes for n in (0, 10**6, 2 * 10**6))
    assert some - none == more - some
    assert 5e8 < some - none < 3e9
    assert need(n_particles=10**6).worker_bytes == need().worker_bytes


def test_what_a_run_did_not_reach_does_not_count():
    job = replace(JOB, searches=((4608, 24), (36864, 24)))
    short, longer, longest = (
        host_need(as_far_as(HostJob(job), order, 2)).worker_bytes for order in (2, 3, 7)
    )
    assert short < longer <= longest == host_need(HostJob(job)).worker_bytes
    assert as_far_as(HostJob(job), 3, 2).local_order == 0
    assert as_far_as(HostJob(job), 4, 2).local_order == 4


@pytest.mark.parametrize("sym", ["C1", "D2"])
def test_directions_take_at_least_their_matrices(sym):
    group = point_group(sym)
    grid = make_orientation_grid(3, group)
    matrices = grid.coarse_directions().nbytes + grid.fine_directions().nbytes
    held = local_grid(replace(JOB, n_operators=group.n_ops), 3)
    assert matrices < held < 4 * matrices


def test_gridding_needs_more_than_a_division():
    assert need(replace(JOB, skip_gridding=False)).master_bytes > need().master_bytes


def test_a_node_needs_less_than_its_ranks_one_by_one():
    found = need(replace(JOB, box_size=128))
    ranks = 3 * found.worker_bytes + found.master_bytes
    node = found.node_bytes(3, with_master=True)
    assert 3 * (found.worker_bytes - FILE_BYTES) < node < ranks
    assert found.node_bytes(3, with_master=False) < node
    assert found.node_bytes(1, with_master=True, together=True) == found.alone_bytes


def test_one_process_needs_less_than_two():
    found = need(replace(JOB, box_size=128))
    assert max(found.worker_bytes, found.master_bytes) < found.alone_bytes
    assert found.alone_bytes < found.worker_bytes + found.master_bytes


def test_the_peak_is_the_moment_with_most():
    assert peak({"a": {"x": 1, "y": 2}, "b": {"x": 4}}) == ("b", 4)


def test_an_image_size_that_a_run_did_not_reach_does_not_count():
    host = HostJob(replace(JOB, box_size=128, searches=((4608, 48),)))
    half, whole = (host_need(as_far_as(host, 2, 2, size)) for size in (64, 128))
    half_sums, whole_sums = (n.worker["searching 4608 orientations"]["sums"] for n in (half, whole))
    assert whole_sums / half_sums == pytest.approx(8, rel=0.1)
    assert half.master_bytes < whole.master_bytes
    assert whole == host_need(replace(host, local_order=0, is_saved=False))


def test_slices_of_a_first_pass_are_no_larger_than_the_image():
    host = HostJob(replace(JOB, searches=((4608, 48),)))
    terms = host_need(as_far_as(host, 2, 2, 24)).worker["searching 4608 orientations"]
    assert terms["coarse slices"] == kept_slices(JOB, 4608, 24)


def test_images_that_are_kept_are_not_counted_with_the_batches():
    read, kept = (
        need(keeps_images=keeps).worker["searching 4608 orientations"] for keeps in (False, True)
    )
    assert read["images as read"] == 2 * 16 * 64**2 * 4
    assert kept["images as read"] == 0


def test_sums_saved_in_the_middle_wait_on_rank_0():
    job = replace(JOB, n_half=1, n_class=8)
    changes = {"on_gpu": True, "mstep_on_gpu": True}
    saved, not_saved = (need(job, is_saved=is_saved, **changes) for is_saved in (True, False))
    packed = 24 * HostJob(job).packed
    assert saved.waiting - not_saved.waiting == packed
    assert saved.master["reduction"]["packed sums"] == 2 * packed


def test_timing_counts_all_searches_that_are_timed():
    searches = ((4608, 24), (36864, 24))
    some = need(timed=searches[:1]).worker["timing this machine"]["noise images"]
    more = need(timed=searches).worker["timing this machine"]["noise images"]
    assert more - some >= kept_slices(replace(JOB, n_half=1), *searches[1])
    assert "timing this machine" not in need().worker


def test_volumes_need_more_of_cuda_than_images():
    volume, image = (need(replace(JOB, planar=planar), on_gpu=True) for planar in (False, True))
    assert volume.worker["loading"]["CUDA"] > image.worker["loading"]["CUDA"]
    # Rank 0 has a GPU whether its M-step is there or not.
    assert image.master["averages"]["CUDA"] > 0
