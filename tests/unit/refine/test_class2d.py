"""2D classification: what it begins with, its schedule, its memory and its files."""

from __future__ import annotations

import numpy as np
import pytest
from factories.project import class2d_options, class3d_options, noise_project
from factories.refinement import run_of

from relion_mpi.core.errors import InputError
from relion_mpi.core.options import declarations
from relion_mpi.io.mrc import read_map, write_map
from relion_mpi.io.star import read_star
from relion_mpi.refine.class2d_options import Class2DOptions
from relion_mpi.refine.first_averages import first_size
from relion_mpi.refine.gpu_job import gpu_job
from relion_mpi.refine.outputs.writer import write_iteration
from relion_mpi.refine.planning import Stage, orientation_grid
from relion_mpi.refine.programme import Classification2D, programme_of
from relion_mpi.refine.start import first_schedule, make_start


@pytest.fixture
def project(tmp_path):
    return noise_project(tmp_path)


def test_what_belongs_to_volumes_is_no_option():
    names = set(declarations(Class2DOptions))
    assert not names & {"sym", "healpix_order", "solvent_mask", "solvent_mask2", "sigma_ang"}


def test_without_references_no_iteration_is_special(project):
    masks = np.ones((2, 2)), None
    programme = programme_of(class2d_options(project, K=3), np.eye(3)[None], masks, 12)
    assert isinstance(programme, Classification2D)
    schedule = first_schedule(class2d_options(project), 1.0)
    assert programme.stage(1, schedule, resumed=False) == Stage()


def test_the_grid_is_in_the_plane(project):
    schedule = first_schedule(class2d_options(project, psi_step=12.0), 1.0)
    grid = orientation_grid(schedule, make_start(class2d_options(project)).group)
    assert grid.planar
    assert grid.n_dir == 1
    assert len(grid.psi_deg) == 30
    assert schedule.fine_step_deg == 6.0


def test_the_coarse_size_is_where_the_edge_turns_by_one_and_a_half_pixels(project):
    schedule = first_schedule(class2d_options(project, psi_step=12.0), 1.0)
    wanted = 100 / (12 / 360 * np.pi * 90 / 1.5)
    assert schedule.coarse_size(100, 100.0, 100, 90.0) == 2 * np.ceil(wanted)


def test_first_averages_have_the_size_of_relion():
    assert first_size(100, 2.0, 10.0) == 20
    assert first_size(100, 2.0, -1.0) == 28
    assert first_size(16, 1.0, 10.0) == 12
    assert first_size(16, 4.0, 2.0) == 16


def test_planes_need_little_of_a_gpu(project):
    size = {"n_class": 4, "batch_size": 10}
    flat = gpu_job(class2d_options(project), 64, 1.0, **size)
    full = gpu_job(class3d_options(project), 64, 1.0, **size)
    assert flat.voxels * 50 < full.voxels
    assert flat.searches[0][0] == 30


def test_to_keep_poses_there_must_be_some(project):
    with pytest.raises(InputError, match=r"rlnAnglePsi.*--skip_align"):
        make_start(class2d_options(project, skip_align=True))


def test_a_run_writes_a_stack_and_names_its_images(project):
    found = run_of(class2d_options(project, K=2, iter=1, psi_step=60.0))
    names = [path.name for path in write_iteration(found.record)]
    assert "run_it001_classes.mrcs" in names
    assert "run_it001_classes.png" in names
    assert not [name for name in names if name.endswith((".mrc", ".bild"))]
    root = project.folder / "out" / "run"
    stack, pixel = read_map(f"{root}_it001_classes.mrcs")
    np.testing.assert_allclose(stack, found.halves[0].maps, atol=1e-6)
    assert pixel == pytest.approx(project.pixel)
    blocks = read_star(f"{root}_it001_model.star")
    images = blocks["model_classes"]["rlnReferenceImage"].to_list()
    assert images == [f"{k:06d}@{root}_it001_classes.mrcs" for k in (1, 2)]
    assert int(blocks["model_general"]["rlnReferenceDimensionality"]) == 2
    sampling = read_star(f"{root}_it001_sampling.star")
    assert int(sampling["sampling_general"]["rlnIs3DSampling"]) == 0
    assert list(sampling) == ["sampling_general"]


def test_first_averages_are_of_the_particles(project):
    found = run_of(class2d_options(project, K=2, iter=1, psi_step=60.0))
    assert np.ptp(found.halves[0].maps) > 0
    assert found.halves[0].pdf_class.sum() == pytest.approx(1.0)


def test_a_run_begins_from_the_references_that_are_given(project):
    stack = project.folder / "averages.mrcs"
    images = np.random.default_rng(5).normal(size=(3, project.box, project.box))
    write_map(stack, images, project.pixel, stack=True)
    options = class2d_options(project, ref=stack, iter=1, psi_step=60.0)
    start = make_start(options)
    np.testing.assert_allclose(start.model.halves[0].maps, images, atol=1e-6)
    found = run_of(options)
    assert found.halves[0].n_class == 3
    assert found.halves[0].pdf_class.sum() == pytest.approx(1.0)


def test_references_are_low_passed(project):
    stack = project.folder / "averages.mrcs"
    images = np.random.default_rng(5).normal(size=(1, project.box, project.box))
    write_map(stack, images, project.pixel, stack=True)
    maps = make_start(class2d_options(project, ref=stack, ini_high=16.0)).model.halves[0].maps
    power = np.abs(np.fft.rfft2(maps[0])) ** 2
    assert power[0, 6:].max() < 1e-6 * power[0, 1:4].max()  # shell 4 is 16 A
