from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from factories.run_folder import BOX, PIXEL, body, particle_table, write_postprocess

from relion_mpi.core.errors import InputError
from relion_mpi.io.mrc import write_map
from relion_mpi.io.star import read_star, write_star
from relion_mpi.report.gather import volumes
from relion_mpi.report.gather.particles import columns_of
from relion_mpi.report.gather.sharpened import read_sharpened
from relion_mpi.report.gather.state import State


def test_a_refinement_is_read(folder, gathered):
    run = gathered(folder())
    assert [step.iteration for step in run.steps] == [0, 1, 2, None]
    assert [step.resolution_angst for step in run.steps] == [60.0, 30.0, 20.0, 10.0]
    assert run.last.accuracy_rotation_deg == 2.0
    assert run.last.box_angst == BOX * PIXEL
    assert run.has_halves
    assert run.particles.n_particles == 300
    assert run.particles.n_micrographs == 4
    assert [volume.name for volume in run.maps] == ["run_class001.mrc"]
    assert sorted(run.sections, key=str) == [0, 1, 2, None]
    np.testing.assert_array_equal(run.sections[0], body()[BOX // 2])


def test_classes_are_read(folder, gathered):
    run = gathered(folder("class3d"))
    assert not run.has_halves
    assert run.last.n_class == 3
    assert [volume.name for volume in run.maps] == [f"run_it002_class00{k}.mrc" for k in (1, 2, 3)]


def test_averages_are_read(folder, gathered):
    run = gathered(folder("class2d"))
    assert run.is_planar
    assert run.averages.shape == (3, BOX, BOX)
    assert run.views is None


def test_the_course_is_read_with_its_times_and_ranks(folder, gathered):
    run = gathered(folder())
    assert [moment.iteration for moment in run.course] == [0, 1, 2, None]
    assert run.course[-1].seconds == {"E-step": 30.0, "M-step": 3.0, "load": 1.0}
    assert run.course[-1].ranks == {
        "1": {"work": 28.0, "images": 1.0, "idle": 1.0, "network": 0.75}
    }
    assert run.course[-1].fine_step_deg == pytest.approx(7.5)
    assert run.course[1].written - run.course[0].written == 60.0


def test_a_broken_line_of_the_course_is_passed_over(folder, gathered):
    made = folder().write()
    log = made.folder / "run_metrics.jsonl"
    log.write_text(log.read_text() + '{"iteration": 3, "wri\n[]\n')
    made.write = lambda: made
    assert [moment.iteration for moment in gathered(made).course] == [0, 1, 2, None]


def test_the_program_and_its_line_are_read(folder, gathered):
    made = folder()
    run = gathered(made)
    assert run.origin.program == "relion-mpi 0.1.0"
    assert run.origin.command_line == made.command_line
    assert run.origin.symmetry == "C1"


def test_views_are_repeated_by_the_point_group(folder, gathered):
    made = folder()
    made.symmetry = "D2"
    assert gathered(made).views.symmetry == "D2"


def test_a_point_group_may_be_given(folder, gathered):
    assert gathered(folder(), symmetry="o").views.symmetry == "O"


def test_coverage_is_not_judged_without_a_point_group(folder, gathered):
    made = folder().write()
    for path in made.folder.glob("*_sampling.star"):
        path.unlink()
    made.write = lambda: made
    assert not gathered(made).views.is_known


def test_missing_and_broken_maps_are_none(folder, gathered):
    made = folder("class3d").write()
    (made.folder / "run_it002_class002.mrc").unlink()
    (made.folder / "run_it002_class003.mrc").write_bytes(b"short")
    made.write = lambda: made
    run = gathered(made)
    assert [volume is not None for volume in run.maps] == [True, False, False]


def test_relion_3_0_has_one_table_pixels_and_another_name_for_noise(folder, gathered):
    made = folder("class3d").write()
    table = particle_table(
        rlnOpticsGroup=None, rlnOriginXAngst=None, rlnOriginYAngst=None,
        rlnOriginX=np.full(300, 2.0), rlnOriginY=np.zeros(300),
        rlnDetectorPixelSize=np.full(300, 15.0), rlnMagnification=np.full(300, 50_000.0),
    )  # fmt: skip
    write_star(made.folder / "run_it002_data.star", {"": table})
    model = made.folder / "run_it002_model.star"
    blocks = read_star(model)
    blocks["model_group_1"] = blocks.pop("model_optics_group_1")
    write_star(model, blocks)
    made.write = lambda: made
    run = gathered(made)
    # 15 um / 50000 = 3 A
    np.testing.assert_allclose(run.particles.shift_angst[0], [6.0, 0.0])
    assert run.last.noise.shape == (1, BOX // 2 + 1)


def test_columns_that_are_not_there_are_none():
    found = columns_of(pl.DataFrame({"rlnImageName": ["1@a.mrcs"]}), None)
    assert found.n_particles == 1
    assert (found.rot_deg, found.pmax, found.shift_angst, found.half) == (None,) * 4


def test_a_post_processing_is_read(tmp_path):
    write_postprocess(tmp_path / "post")
    found = read_sharpened(tmp_path / "post")
    assert found.resolution_angst == 12.0
    assert found.fit == (-30.0, -3.0)
    assert set(found.fsc) == {"corrected", "unmasked", "masked", "masked, random phases"}
    assert np.isnan(found.guinier["original"][0])  # -99 stands for no amplitude
    assert found.map.name == "postprocess_masked.mrc"


def test_another_star_file_is_no_post_processing(folder):
    made = folder().write()
    with pytest.raises(InputError, match="expected the table of a post-processing"):
        read_sharpened(made.folder / "run_data.star")


def test_local_resolution_is_read_where_there_is_some(folder, gathered):
    made = folder().write()
    volume = np.zeros((BOX,) * 3, np.float32)
    volume[8:16, 8:16, 8:16] = 7.5
    write_map(made.folder / "run_locres.mrc", volume, PIXEL)
    name, values = gathered(made).local_resolution
    assert name == "run_locres.mrc"
    assert (values.size, values.max()) == (512, 7.5)


def test_large_maps_are_binned(tmp_path, monkeypatch):
    monkeypatch.setattr(volumes, "LARGEST_SIDE", 8)
    volume = np.random.default_rng(0).normal(size=(24, 24, 24)).astype(np.float32)
    write_map(tmp_path / "m.mrc", volume, 1.0)
    found = volumes.read_volume(tmp_path / "m.mrc")
    assert found.bin == 3
    expected = volume.reshape(8, 3, 8, 3, 8, 3).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(found.data, expected, atol=1e-6)


def test_sections_are_thinned_but_first_and_last_stay(folder, gathered, monkeypatch):
    monkeypatch.setattr(volumes, "MOST_SLICES", 3)
    run = gathered(folder(iterations=tuple(range(9))))
    assert list(run.sections) == [0, 4, None]


@pytest.mark.parametrize(
    ("sign", "state"),
    [
        ("RELION_JOB_EXIT_SUCCESS", State.FINISHED), ("RELION_JOB_EXIT_FAILURE", State.FAILED),
        ("RELION_JOB_EXIT_ABORTED", State.STOPPED),
    ],
)  # fmt: skip
def test_signs_for_the_interface_tell_the_state(folder, gathered, sign, state):
    made = folder(final=False).write()
    (made.folder / sign).touch()
    assert gathered(made).state is state
