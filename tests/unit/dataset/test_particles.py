import logging
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from relion_mpi.core.errors import InputError
from relion_mpi.dataset.particles import particles_blocks, read_particles
from relion_mpi.io.mrc import write_map
from relion_mpi.io.star import read_star, write_star

SHARED = Path(os.environ.get("RELION_MPI_SHARED", Path(__file__).parents[4] / "shared"))


def read(project):
    return read_particles(project.write(), project.folder)


def set_value(project, label, row, value):
    values = project.table[label].to_list()
    values[row] = value
    project.table = project.table.with_columns(pl.Series(label, values, strict=False))


def test_columns_arrive_as_arrays(project):
    p = read(project)
    assert p.n_particles == 12
    assert p.image_index.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 0, 1, 2, 3]
    assert p.stack_file.tolist() == [0] * 5 + [1] * 3 + [2] * 4
    assert p.stack_paths[2] == project.folder / "s2.mrcs"
    assert p.optics_group.tolist() == [1, 0] * 6
    assert p.optics.voltage_kv.tolist() == [300, 200]
    np.testing.assert_array_equal(p.defocus_u_angst, project.table["rlnDefocusU"])
    np.testing.assert_array_equal(p.origin_angst[:, 0], project.table["rlnOriginXAngst"])


def test_relions_defaults_fill_absent_columns(project):
    p = read(project)
    np.testing.assert_array_equal(p.defocus_v_angst, p.defocus_u_angst)
    assert (p.ctf_scale == 1).all()
    assert (p.norm_correction == 1).all()
    assert (p.class_number == 1).all()
    assert not p.half.any()
    assert p.angle_prior_deg is None
    assert p.optics.box_size.tolist() == [8, 8]
    assert p.optics.table["rlnImageSize"].to_list() == [8, 8]


def test_rows_are_sorted_by_micrograph_and_ties_keep_their_order(project):
    order = np.random.default_rng(0).permutation(12)
    expected = sorted(order.tolist(), key=lambda i: project.table["rlnMicrographName"][i])
    names = project.table["rlnImageName"]
    project.table = project.table[order]
    assert read(project).frame["rlnImageName"].to_list() == [names[i] for i in expected]


def test_movie_micrographs_are_sorted_by_the_part_behind_the_at(project):
    movies = [f"{100 - i}@m{i % 2}" for i in range(12)]
    project.table = project.table.with_columns(pl.Series("rlnMicrographName", movies))
    got = read(project).frame["rlnMicrographName"].to_list()
    assert got == [f"{100 - i}@m{i % 2}" for i in (*range(0, 12, 2), *range(1, 12, 2))]


def test_scale_groups_are_group_names_before_micrographs(project):
    assert read(project).scale_group_names == ["mic0.mrc", "mic1.mrc", "mic2.mrc"]
    groups = ["g2"] * 6 + ["g1"] * 6
    project.table = project.table.with_columns(pl.Series("rlnGroupName", groups))
    p = read(project)
    assert p.scale_group_names == ["g2", "g1"]
    assert p.scale_group.tolist() == [0] * 6 + [1] * 6


def test_without_micrographs_there_is_one_group_and_a_warning(project, caplog):
    project.table = project.table.drop("rlnMicrographName")
    with caplog.at_level(logging.WARNING):
        assert read(project).scale_group_names == ["group1"]
    assert "one group" in caplog.text


def test_priors_of_999_are_absent(project):
    values = [10.0] * 11 + [999.0]
    project.table = project.table.with_columns(pl.Series("rlnAngleTiltPrior", values))
    prior = read(project).angle_prior_deg
    assert np.isnan(prior[:, [0, 2]]).all()
    assert np.isnan(prior[11, 1])
    assert (prior[:11, 1] == 10).all()


def test_stacks_beside_the_star_file_are_found_with_one_warning(project, tmp_path, caplog):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with caplog.at_level(logging.WARNING):
        p = read_particles(project.path, elsewhere)
    assert p.stack_paths[0] == project.folder / "s0.mrcs"
    assert caplog.text.count("is not below") == 1


def test_absolute_stack_names_are_taken_as_they_are(project):
    names = pl.concat_str(
        pl.col("rlnImageName").str.head(7),
        pl.lit(f"{project.folder}/"),
        pl.col("rlnImageName").str.slice(7),
    )
    project.table = project.table.with_columns(names.alias("rlnImageName"))
    path = project.write()
    assert read_particles(path, "/").stack_paths[1] == project.folder / "s1.mrcs"


REFUSED = {
    "no at": (lambda p: set_value(p, "rlnImageName", 3, "s0.mrcs"), "row 4.*'index@stack'"),
    "index 0": (lambda p: set_value(p, "rlnImageName", 3, "0@s0.mrcs"), "row 4.*1 or more"),
    "beyond": (lambda p: set_value(p, "rlnImageName", 6, "4@s1.mrcs"), "row 7.*holds 3 images"),
    "missing": (lambda p: set_value(p, "rlnImageName", 6, "4@no.mrcs"), "row 7.*no stack"),
    "optics id": (lambda p: set_value(p, "rlnOpticsGroup", 2, 9), "row 3.*9.*\\[1, 4\\]"),
    "nan": (lambda p: set_value(p, "rlnDefocusU", 2, np.nan), "row 3: rlnDefocusU is nan"),
    "text": (
        lambda p: (
            setattr(p, "table", p.table.with_columns(pl.col("rlnDefocusU").cast(pl.String))),
            set_value(p, "rlnDefocusU", 2, "deep"),
        ),
        "row 3: rlnDefocusU is 'deep'",
    ),
    "subset 3": (
        lambda p: setattr(
            p, "table", p.table.with_columns(rlnRandomSubset=pl.Series([1, 2, 3] * 4))
        ),
        "row 3: rlnRandomSubset is 3",
    ),
    "subset 0 and 1": (
        lambda p: setattr(
            p, "table", p.table.with_columns(rlnRandomSubset=pl.Series([1, 0, 2] * 4))
        ),
        "row 2: rlnRandomSubset is 0",
    ),
    "no name": (lambda p: setattr(p, "table", p.table.drop("rlnImageName")), "rlnImageName"),
    "no row": (lambda p: setattr(p, "table", p.table.head(0)), "no particle"),
    "no group": (lambda p: setattr(p, "table", p.table.drop("rlnOpticsGroup")), "rlnOpticsGroup"),
    "pixel size": (
        lambda p: setattr(p, "optics", p.optics.with_columns(rlnImagePixelSize=pl.lit(-1.0))),
        "optics', row 1: pixel size",
    ),
    "optics twice": (
        lambda p: setattr(p, "optics", p.optics.with_columns(rlnOpticsGroup=pl.lit(4))),
        "row 2: rlnOpticsGroup 4 occurs a second time",
    ),
    "voltage": (
        lambda p: setattr(p, "optics", p.optics.with_columns(rlnVoltage=pl.lit(np.inf))),
        "row 1: rlnVoltage is inf",
    ),
    "box": (
        lambda p: setattr(p, "optics", p.optics.with_columns(rlnImageSize=pl.lit(10))),
        "row 1: the image is 8 pixels wide, expected 10",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_tables_are_refused_with_file_and_row(case, project):
    spoil, message = REFUSED[case]
    spoil(project)
    with pytest.raises(InputError, match=message) as caught:
        read(project)
    assert str(project.path) in str(caught.value)


def test_the_row_named_is_the_one_in_the_file_not_the_sorted_one(project):
    project.table = project.table.reverse()
    set_value(project, "rlnImageName", 0, "9@s2.mrcs")
    with pytest.raises(InputError, match=r"row 1: rlnImageName is '9@s2\.mrcs'"):
        read(project)


@pytest.mark.parametrize(("shape", "message"), [((3, 7, 7), "even"), ((3, 8, 6), "square")])
def test_odd_and_oblong_boxes_are_refused(project, shape, message):
    write_map(project.folder / "s1.mrcs", np.zeros(shape, np.float32), 2.0, stack=True)
    project.table = project.table.filter(pl.col("rlnMicrographName") == "mic1.mrc")
    with pytest.raises(InputError, match=message):
        read(project)


def test_a_truncated_stack_is_refused(project):
    path = project.folder / "s1.mrcs"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError, match=r"row 6: .*s1\.mrcs: found .* truncated"):
        read(project)


def test_an_image_named_twice_is_told(project, caplog):
    set_value(project, "rlnImageName", 1, "1@s0.mrcs")
    with caplog.at_level(logging.WARNING):
        read(project)
    assert "1 particles name an image" in caplog.text


def test_a_pixel_size_unlike_the_headers_is_told(project, caplog):
    project.optics = project.optics.with_columns(rlnImagePixelSize=pl.lit(3.0))
    with caplog.at_level(logging.WARNING):
        read(project)
    assert "pixel size is 3 Angstrom, but 2 in the header" in caplog.text


def test_output_keeps_input_columns_and_adds_those_of_refinement(project, tmp_path):
    p = read(project)
    p.rot_deg[:] = 12.34567891
    p.half[:] = [1, 2] * 6
    write_star(tmp_path / "out.star", particles_blocks(p))
    again = read_star(tmp_path / "out.star")["particles"]
    assert again["rlnImageName"].equals(project.table["rlnImageName"])
    assert again["rlnDefocusU"].equals(project.table["rlnDefocusU"])
    assert again["rlnAngleRot"][0] == 12.345679
    assert again["rlnRandomSubset"].to_list() == [1, 2] * 6
    assert again["rlnGroupNumber"].to_list() == [1] * 5 + [2] * 3 + [3] * 4
    assert again["rlnPhaseShift"].to_list() == [0] * 12
    assert read_particles(tmp_path / "out.star", project.folder).half.tolist() == [1, 2] * 6


def write_old(project):
    """Write a table of RELION 3.0 with two voltages."""
    old = project.table.drop("rlnOpticsGroup", "rlnOriginXAngst").with_columns(
        rlnVoltage=pl.Series([200.0] * 4 + [300.0] * 8),
        rlnSphericalAberration=pl.lit(2.7),
        rlnAmplitudeContrast=pl.lit(0.1),
        rlnMagnification=pl.lit(25000.0),
        rlnDetectorPixelSize=pl.lit(5.0),
        rlnOriginX=pl.lit(1.5),
        rlnOriginY=pl.lit(-2.0),
    )
    write_star(project.path, {"images": old})
    # RELION takes a table with this line for a new one.
    project.path.write_text(project.path.read_text().replace("# version 30001", ""))
    return project.path


def test_old_tables_get_optics_groups_and_angstrom(project):
    p = read_particles(write_old(project), project.folder)
    assert p.optics.voltage_kv.tolist() == [200, 300]
    assert p.optics_group.tolist() == [0] * 4 + [1] * 8
    assert p.optics.pixel_size_angst.tolist() == [2.0, 2.0]
    np.testing.assert_array_equal(p.origin_angst, np.tile([3.0, -4.0], (12, 1)))


def test_old_tables_are_written_in_the_new_form(project, tmp_path):
    blocks = particles_blocks(read_particles(write_old(project), project.folder))
    gone = {"rlnOriginX", "rlnOriginY", "rlnMagnification", "rlnDetectorPixelSize", "rlnVoltage"}
    assert not gone & set(blocks["particles"].columns)
    assert {"rlnOriginXAngst", "rlnOpticsGroup"} <= set(blocks["particles"].columns)
    write_star(tmp_path / "out.star", blocks)
    assert read_particles(tmp_path / "out.star", project.folder).optics.n_groups == 2


@pytest.mark.skipif(shutil.which("relion_convert_star") is None, reason="RELION is not installed")
def test_old_tables_are_converted_as_relion_converts_them(project):
    write_old(project)
    subprocess.run(
        ["relion_convert_star", "--i", "p.star", "--o", "new.star"],
        cwd=project.folder,
        check=True,
        capture_output=True,
    )
    theirs = read_particles(project.folder / "new.star", project.folder)
    ours = read_particles(project.path, project.folder)
    np.testing.assert_array_equal(ours.optics_group, theirs.optics_group)
    np.testing.assert_allclose(ours.origin_angst, theirs.origin_angst, atol=1e-6)
    np.testing.assert_allclose(ours.optics.pixel_size_angst, theirs.optics.pixel_size_angst)
    assert ours.optics.name == theirs.optics.name
    assert ours.optics.table.columns == theirs.optics.table.columns
    assert ours.frame.columns == theirs.frame.columns


SIX = SHARED / "data" / "star" / "particles_3.1_six_optics_groups.star"


@pytest.mark.skipif(not SIX.is_file(), reason="the shared data folder is absent")
def test_aberrations_of_six_optics_groups_are_read():
    from relion_mpi.dataset.columns import Table
    from relion_mpi.dataset.optics_groups import read_optics_groups

    optics = read_optics_groups(Table(SIX, "optics", read_star(SIX)["optics"], np.arange(1, 7)))
    assert optics.beam_tilt_mrad[0].tolist() == [0.657334, 0.884982]
    assert optics.odd_zernike[1][0] == 0.344534641293
    assert optics.magnification.shape == (6, 2, 2)
    np.testing.assert_allclose(optics.magnification, np.tile(np.eye(2), (6, 1, 1)), atol=0.1)


def test_a_real_set_is_read():
    path = SHARED / "data" / "particles" / "apoferritin_64px_3.0A.star"
    if not path.is_file():
        pytest.skip("the shared data folder is absent")
    p = read_particles(path)
    assert p.optics.box_size.tolist() == [64]
    assert len(p.scale_group_names) > 1
