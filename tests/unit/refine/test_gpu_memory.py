"""What a GPU is predicted to hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relion_mpi.backend.limits import Limits
from relion_mpi.fourier.shells import padded_size
from relion_mpi.refine.gpu_job import gpu_job, n_orientations
from relion_mpi.refine.gpu_memory import GIB, GpuJob, gpu_need
from relion_mpi.refine.options import RefineOptions
from relion_mpi.sampling.orientations import make_orientation_grid

JOB = GpuJob(128, batch_size=256, searches=((4608, 24), (36864, 48)))
LIMITS = Limits()


def need(limits=LIMITS, **changes):
    return gpu_need(replace(JOB, **changes), limits)


def test_references_and_sums_of_both_halves_are_those_of_the_padded_transform():
    size = padded_size(64, 2)
    voxels = size * size * (size // 2 + 1)
    found = need(n_class=3)
    assert found.references == 2 * 3 * voxels * 8
    assert found.sums == 2 * 3 * voxels * 16


def test_the_parts_add_up_to_the_peak_of_the_e_step():
    found = need()
    parts = found.references + found.sums + found.scratch + found.batch + found.tables
    assert found.expectation == found.context + parts
    assert sum(found.parts.values()) == parts


def test_the_total_is_the_largest_peak():
    found = need()
    assert found.working == max(found.expectation, found.load)
    assert found.total == max(found.expectation, found.load, found.maximisation)


def test_sums_are_not_there_while_references_are_loaded():
    found = need()
    big = 256
    assert found.load < found.context + found.references + 5 * 4 * big**3
    assert found.load > found.context + found.references + 3 * 4 * big**3


@pytest.mark.parametrize(
    "larger",
    [{"box_size": 130}, {"n_class": 2}, {"padding": 3}, {"batch_size": 257}, {"n_lanes": 3},
     {"precision": "float64"}, {"noise_fill": True}, {"n_optics": 2}, {"n_shift": 22},
     {"searches": ((36864, 50),)}],
    ids=str,
)  # fmt: skip
def test_more_of_anything_needs_more(larger):
    assert need(**larger).expectation > need().expectation


def test_double_precision_doubles_all_but_what_the_limits_fix():
    single, double = need(searches=()), need(searches=(), precision="float64")
    for name in ("references", "sums", "loading", "tables"):
        assert getattr(double, name) == 2 * getattr(single, name)
    assert double.scratch == single.scratch
    assert 2 * single.batch <= double.batch < 2.6 * single.batch


def test_textures_need_one_more_volume_while_they_are_made():
    volume = need().references // 2
    assert need(precision="tf32").loading == need().loading + volume
    assert need(precision="tf32").expectation == need().expectation


def test_temporary_arrays_are_what_the_limits_say_for_each_lane():
    limits = Limits(score_bytes=2**30, slice_bytes=2**29)
    assert need(limits).scratch == 2 * (2**30 + 2**29)


def test_the_scores_of_one_image_must_fit():
    n_orient = 8 * 294912
    small = need(Limits(score_bytes=2**26), searches=((n_orient, 48),), batch_size=1)
    assert small.scratch > 2 * n_orient * 22 * 4 > 2 * 2**26


def test_as_many_tiles_of_coarse_slices_are_kept_as_fit():
    wanted = 2 * 36864 * 3 * 905 * 4  # half a disc of radius 24 has 905 pixels
    kept = need().tables - need(Limits(tile_bytes=2**26)).tables
    # One tile of 4096 has room in 64 MiB, a second one has not.
    assert kept == pytest.approx(wanted - 2 * 4096 * 3 * 905 * 4, rel=0.01)


def test_fewer_shells_need_smaller_volumes():
    assert need(r_max=32).references < need().references / 7


@pytest.mark.parametrize(("order", "group", "n_operators"), [(1, "C1", 1), (2, "C1", 1)])
def test_orientations_are_counted_as_the_grid_makes_them(order, group, n_operators):
    from relion_mpi.geometry.symmetry import point_group

    grid = make_orientation_grid(order, point_group(group))
    assert n_orientations(order, n_operators) == grid.n_orient


def test_every_order_that_is_searched_exhaustively_counts(tmp_path):
    options = RefineOptions(
        i=tmp_path, o=tmp_path, ref=tmp_path, healpix_order=2, auto_local_healpix_order=4,
        particle_diameter=180.0,
    )  # fmt: skip
    job = gpu_job(options, 128, 2.0, n_class=1, batch_size=100)
    assert [n for n, _ in job.searches] == [4608, 36864]
    assert job.searches[1][1] > job.searches[0][1] > 20
    assert (job.n_shift, job.n_child_shift) == (21, 4)


def test_local_searches_alone_keep_no_coarse_slices(tmp_path):
    options = RefineOptions(
        i=tmp_path, o=tmp_path, ref=tmp_path, healpix_order=4, auto_local_healpix_order=4
    )
    assert gpu_job(options, 128, 2.0, n_class=1, batch_size=100).searches == ()


def test_the_text_names_every_part_in_gib():
    found = need()
    text = str(found)
    assert f"references {found.references / GIB:.2f}" in text
    assert f"sums {found.sums / GIB:.2f}" in text
    assert text.endswith("GiB")


def test_exact_sums_are_three_integers_a_voxel_in_any_precision():
    for precision in ("float32", "float64"):
        found = need(deterministic=True, precision=precision)
        assert found.sums == 2 * JOB.voxels * 24
