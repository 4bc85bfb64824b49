"""Particles of cryoSPARC keep their poses, places and optics as RELION's."""

from __future__ import annotations

import numpy as np
import pytest
from factories.cryosparc import PIXEL_ANGST, particles, save, write_images
from factories.maps import blob_map
from factories.pixels import geometry, images_from
from numpy.lib import recfunctions

from relion_mpi.backend import select_backend
from relion_mpi.cli import main as command_line
from relion_mpi.dataset.particles import read_particles
from relion_mpi.geometry.euler import euler_to_matrix
from relion_mpi.io.star import read_star

N, MAP_SEED, BOX = 12, 3, 32


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def convert(folder, records, places=None, *words):
    save(folder / "particles.cs", records)
    paths = ["particles.cs"]
    if places is not None:
        save(folder / "passthrough.cs", places)
        paths.append("passthrough.cs")
    try:
        line = ["star", "--from_cryosparc", "--i", *paths, "--o", "out.star", *words]
        return command_line.main(line)
    except SystemExit as leaving:
        return leaving.code


def test_images_drawn_from_cryosparc_s_poses_are_our_projections(folder):
    """The whole chain: angles, signs and unit of shifts, order of axes."""
    records, places = particles(N)
    drawn = write_images(folder / "J3" / "extract" / "stack.mrcs", records, MAP_SEED)
    assert convert(folder, records, places) == 0
    read = read_particles(folder / "out.star")

    backend = select_backend("cpu", "float64")
    references = backend.load_references(blob_map(BOX, MAP_SEED)[None], BOX // 2, 2)
    pixels = geometry(BOX, pixel=float(PIXEL_ANGST))
    matrices = euler_to_matrix(read.rot_deg, read.tilt_deg, read.psi_deg)
    values = backend.project(references, matrices, pixels).astype(complex)
    lever = read.origin_angst / float(PIXEL_ANGST) @ np.stack([pixels.x, pixels.y])
    ours = images_from(values * np.exp(2j * np.pi / BOX * lever), pixels.x, pixels.y, BOX)
    # Trilinear interpolation in a transform padded twice is good to about 1 %.
    for mine, theirs in zip(ours, drawn[read.image_index], strict=True):
        assert np.corrcoef(mine.ravel(), theirs.ravel())[0, 1] > 0.999


def test_what_cryosparc_counts_from_0_counts_from_1(folder):
    records, places = particles(N)
    assert convert(folder, records, places) == 0
    rows = read_star("out.star")["particles"]
    assert rows["rlnImageName"][2] == "000003@J3/extract/stack.mrcs"
    assert rows["rlnRandomSubset"].to_list() == [1, 2] * (N // 2)
    assert rows["rlnClassNumber"].to_list() == [1, 2, 3] * (N // 3)


def test_units_are_relion_s(folder):
    records, places = particles(N)
    assert convert(folder, records, places) == 0
    rows = read_star("out.star")["particles"]
    np.testing.assert_allclose(rows["rlnDefocusU"], records["ctf/df1_A"], rtol=1e-6)
    angle = np.degrees(records["ctf/df_angle_rad"].astype(float))
    np.testing.assert_allclose(rows["rlnDefocusAngle"], angle, rtol=1e-6)
    np.testing.assert_allclose(rows["rlnPhaseShift"], 90.0, rtol=1e-6)
    shift = records["alignments3D/shift"].astype(float) * 1.06
    np.testing.assert_allclose(rows["rlnOriginXAngst"], shift[:, 0], rtol=1e-6)
    np.testing.assert_allclose(rows["rlnOriginYAngst"], shift[:, 1], rtol=1e-6)


def test_shifts_are_in_pixels_of_the_alignment(folder):
    """Particles may have been aligned at another size."""
    records, places = particles(N)
    records["alignments3D/psize_A"] = 2 * PIXEL_ANGST
    assert convert(folder, records, places) == 0
    x = read_star("out.star")["particles"]["rlnOriginXAngst"]
    shift = records["alignments3D/shift"][:, 0].astype(float) * 2.12
    np.testing.assert_allclose(x, shift, rtol=1e-6)


def test_passthrough_rows_are_found_by_uid(folder):
    records, places = particles(N)
    assert convert(folder, records, places, "--image_folder", "/cs/P1") == 0
    rows = read_star("out.star")["particles"]
    assert rows["rlnMicrographName"].to_list() == [f"/cs/P1/J2/mic{k % 4}.mrc" for k in range(N)]
    assert rows["rlnImageName"][0] == "000001@/cs/P1/J3/extract/stack.mrcs"
    x = (np.arange(N) + 1) / (N + 2) * 4000
    np.testing.assert_allclose(rows["rlnCoordinateX"], x, rtol=1e-6)
    np.testing.assert_allclose(rows["rlnCoordinateY"], 0.25 * 3000)


def test_y_may_be_measured_from_the_other_side(folder):
    records, places = particles(N)
    assert convert(folder, records, places, "--invert_y") == 0
    np.testing.assert_allclose(read_star("out.star")["particles"]["rlnCoordinateY"], 0.75 * 3000)


def test_groups_of_exposures_become_optics_groups(folder):
    records, places = particles(N)
    assert convert(folder, records, places) == 0
    blocks = read_star("out.star")
    optics = blocks["optics"]
    assert optics["rlnOpticsGroup"].to_list() == [1, 2]
    assert optics["rlnImagePixelSize"].to_list() == [1.06, 1.06]  # not 1.0599999
    assert optics["rlnVoltage"].to_list() == [300, 300]
    assert optics["rlnSphericalAberration"].to_list() == [2.7, 2.7]
    assert optics["rlnImageSize"].to_list() == [32, 32]
    assert blocks["particles"]["rlnOpticsGroup"].to_list() == [1, 2] * (N // 2)


def test_each_particle_has_the_pose_of_its_likeliest_class(folder):
    records, places = particles(N)
    names = [name for name in records.dtype.names if name.startswith("alignments3D/")]
    several = recfunctions.drop_fields(records, names)
    for k in range(2):
        fields = {
            "pose": records["alignments3D/pose"] * (1 if k == 0 else -1),
            "shift": records["alignments3D/shift"] + k,
            "class": np.full(N, k, np.uint32),
            "class_posterior": (np.arange(N) % 2 == k).astype(np.float32),
        }
        for name, values in fields.items():
            more = (f"alignments_class_{k}/{name}", values.dtype, values.shape[1:])
            whole = np.zeros(N, [*several.dtype.descr, more])
            for field in several.dtype.names:
                whole[field] = several[field]
            whole[f"alignments_class_{k}/{name}"] = values
            several = whole
    assert convert(folder, several, places) == 0
    rows = read_star("out.star")["particles"]
    assert rows["rlnClassNumber"].to_list() == [1, 2] * (N // 2)
    x = (records["alignments3D/shift"][:, 0].astype(float) + np.arange(N) % 2) * 1.06
    np.testing.assert_allclose(rows["rlnOriginXAngst"], x, rtol=1e-5)


def test_poses_in_the_plane_are_psi(folder):
    records, places = particles(N)
    flat = recfunctions.drop_fields(
        records, [name for name in records.dtype.names if name.startswith("alignments3D/")]
    )
    angle = np.linspace(-3, 3, N).astype(np.float32)
    flat = recfunctions.append_fields(flat, "alignments2D/pose", angle, usemask=False)
    whole = np.zeros(N, [*flat.dtype.descr, ("alignments2D/shift", "<f4", (2,))])
    for name in flat.dtype.names:
        whole[name] = flat[name]
    assert convert(folder, whole, places) == 0
    rows = read_star("out.star")["particles"]
    np.testing.assert_allclose(rows["rlnAnglePsi"], np.degrees(angle), atol=1e-4)
    assert rows["rlnAngleTilt"].to_list() == [0] * N


def test_what_is_not_converted_is_told(folder, capsys):
    records, places = particles(N)
    records["ctf/tilt_A"] = 1000
    assert convert(folder, records, places) == 0
    said = capsys.readouterr()
    assert "ctf/tilt_A is not converted" in said.err
    assert "no counterpart here: blob/sign" in said.out


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r, p: (r, p[:-2]), "found 2 of 12 particles"),
        (lambda r, p: (recfunctions.drop_fields(r, ["blob/path"]), p), "found no field blob/path"),
        (lambda r, p: (r[:0], p), "found no particle"),
        (lambda r, p: (np.zeros(3), p), "found no table of particles"),
    ],
)
def test_bad_input_is_named(folder, capsys, spoil, message):
    assert convert(folder, *spoil(*particles(N))) == 1
    assert message in capsys.readouterr().err
    assert not (folder / "out.star").exists()


def test_a_file_of_something_else_is_named(folder, capsys):
    (folder / "p.cs").write_text("no array")
    line = ["star", "--from_cryosparc", "--i", "p.cs", "--o", "out.star"]
    assert command_line.main(line) == 1
    assert "found no array of numpy" in capsys.readouterr().err


def test_the_converted_file_passes_validation(folder, capsys):
    records, places = particles(N)
    write_images(folder / "J3" / "extract" / "stack.mrcs", records, MAP_SEED)
    assert convert(folder, records, places) == 0
    status = command_line.main(["validate", "out.star", "--ini_high", "20"])
    assert status == 0, capsys.readouterr().out
