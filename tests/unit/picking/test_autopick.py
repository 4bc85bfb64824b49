"""Particles whose places, angles and shapes are known are found in simulated micrographs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from factories import picked_micrographs as made
from scipy.spatial import cKDTree

from relion_mpi.cli import main as command_line
from relion_mpi.io.mrc import read_map, write_map
from relion_mpi.io.star import read_star
from relion_mpi.parallel.comm import World
from relion_mpi.picking.options import AutopickOptions
from relion_mpi.picking.program import autopick

SIZE = (300, 340)
ALONE = World(None, 0, 1)
PARTICLES = made.placed(SIZE)
PSI = np.array([one.psi for one in PARTICLES])
REF = {"ang": 10.0, "invert": True, "particle_diameter": 96.0, "pictures": 0}


def pick(star, out, **options):
    words = {"ref": Path(star).parent / "templates.mrcs", **REF} | options
    autopick(AutopickOptions(i=str(star), odir=out, **words), ALONE)
    return coordinates(out)


def coordinates(out):
    listed = read_star(out / "autopick.star")["coordinate_files"]
    return [
        next(iter(read_star(path).values())) for path in listed["rlnMicrographCoordinates"]
    ]


def refused(words):
    with pytest.raises(SystemExit) as leaving:
        command_line.main(words)
    assert leaving.value.code == 1


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """Two micrographs of the same particles with different noise."""
    folder = tmp_path_factory.mktemp("noisy")
    images = [made.micrograph(PARTICLES, SIZE, noise=0.3, seed=k) for k in (1, 2)]
    return made.write_set(folder, images)


@pytest.fixture(scope="module")
def picks(noisy, tmp_path_factory):
    return pick(noisy, tmp_path_factory.mktemp("picks"))


def pairs(table, particles=PARTICLES):
    """For each particle the row of the pick nearest to it, and its distance."""
    points = table.select("rlnCoordinateX", "rlnCoordinateY").to_numpy()
    distance, row = cKDTree(points).query([(one.x, one.y) for one in particles])
    return distance, row


def test_every_particle_is_found_to_a_pixel_and_nothing_else(picks):
    for table in picks:
        distance, row = pairs(table)
        assert table.height == len(PARTICLES)
        assert len(set(row)) == len(PARTICLES)
        assert distance.max() < 1.0


def test_angles_are_found_to_a_step_and_shapes_are_told_apart(picks):
    for table in picks:
        rows = table[pairs(table)[1]]
        off = rows["rlnAnglePsi"].to_numpy() - [one.psi for one in PARTICLES]
        assert np.abs((off + 180) % 360 - 180).max() <= 10.0
        assert rows["rlnClassNumber"].to_list() == [one.shape + 1 for one in PARTICLES]
        assert rows["rlnAnglePsi"].is_between(-180, 180).all()


def test_a_template_that_is_there_has_a_figure_of_merit_of_one(picks):
    for table in picks:
        assert table["rlnAutopickFigureOfMerit"].median() == pytest.approx(1.0, abs=0.06)
        assert table["rlnAutopickFigureOfMerit"].min() > 0.5


def test_without_noise_all_have_it(tmp_path):
    # One shape: what is left are the local deviation and the interpolation of angles.
    alike = [dataclasses.replace(one, shape=0) for one in PARTICLES]
    star = made.write_set(tmp_path / "in", [made.micrograph(alike, SIZE, noise=0.02)])
    table = pick(star, tmp_path / "out", threshold=0.5)[0]
    assert table.height == len(PARTICLES)
    assert (table["rlnAutopickFigureOfMerit"] - 1.0).abs().max() < 0.25


@pytest.mark.parametrize("lowpass", [20.0, 12.0])
def test_particles_are_found_on_a_coarser_grid_too(noisy, tmp_path, lowpass):
    for table in pick(noisy, tmp_path, lowpass=lowpass):
        assert table.height == len(PARTICLES)
        # A pixel of the grid of scores is 3 pixels of the micrograph at 20 A.
        assert pairs(table)[0].max() < 1.5


def test_the_grey_scale_of_templates_and_micrographs_does_not_matter(noisy, picks, tmp_path):
    stack, _ = read_map(noisy.parent / "templates.mrcs")
    # Powers of two, so that nothing is rounded otherwise.
    factor = np.array([4.0, 0.25], np.float32)[:, None, None]
    write_map(tmp_path / "other.mrcs", stack * factor, made.ANGPIX, stack=True)
    images = [8.0 * read_map(noisy.parent / f"mic{k}.mrc")[0][0] for k in (1, 2)]
    star = made.write_set(tmp_path / "in", images)
    for one, other in zip(picks, pick(star, tmp_path / "out", ref=tmp_path / "other.mrcs"),
                          strict=True):
        assert one.equals(other)


def test_a_constant_added_to_templates_and_micrographs_does_not_matter(noisy, picks, tmp_path):
    stack, _ = read_map(noisy.parent / "templates.mrcs")
    write_map(tmp_path / "other.mrcs", stack + 3.0, made.ANGPIX, stack=True)
    found = pick(noisy, tmp_path / "out", ref=tmp_path / "other.mrcs")
    for one, other in zip(picks, found, strict=True):
        assert one.height == other.height
        difference = (one - other).to_numpy()
        assert np.abs(difference).max() < 0.02  # float32 of the larger grey values


def test_the_contrast_transfer_function_is_taken_into_account(tmp_path):
    params = made.optics((90000.0, 80000.0, 30.0))  # the CTF changes its sign at 43 A
    star = made.write_set(
        tmp_path / "in", [made.micrograph(PARTICLES, SIZE, noise=0.03, params=params)], params
    )
    with_ctf = pick(star, tmp_path / "with", ctf=True)[0]
    distance, row = pairs(with_ctf)
    assert with_ctf.height == len(PARTICLES)
    assert distance.max() < 1.0
    assert with_ctf[row]["rlnClassNumber"].to_list() == [one.shape + 1 for one in PARTICLES]
    without = pick(star, tmp_path / "without")[0]
    off = [
        np.abs((table[pairs(table)[1]]["rlnAnglePsi"].to_numpy() - PSI + 180) % 360 - 180)
        for table in (with_ctf, without)
    ]
    assert (off[0] <= 10.0).all()
    assert (off[1] > 10.0).any() or pairs(without)[0].max() > 1.0


def test_noise_alone_gives_next_to_no_picks(tmp_path):
    star = made.write_set(tmp_path / "in", [made.micrograph([], SIZE, seed=k) for k in range(4)])
    found = pick(star, tmp_path / "out")
    assert sum(table.height for table in found) <= 2
    assert len(found) == 4


def test_of_two_particles_too_near_the_better_one_stays(noisy, tmp_path):
    every = pick(noisy, tmp_path / "all", min_distance=30.0)[0]
    apart = pick(noisy, tmp_path / "apart", min_distance=200.0)[0]
    assert 0 < apart.height < every.height
    assert apart["rlnAutopickFigureOfMerit"].max() == every["rlnAutopickFigureOfMerit"].max()
    points = apart.select("rlnCoordinateX", "rlnCoordinateY").to_numpy()
    assert cKDTree(points).query(points, k=2)[0][:, 1].min() >= 200.0 / made.ANGPIX - 0.02


def test_bright_particles_are_found_as_well(noisy, picks, tmp_path):
    images = [-read_map(noisy.parent / f"mic{k}.mrc")[0][0] for k in (1, 2)]
    star = made.write_set(tmp_path / "in", images)
    for one, other in zip(picks, pick(star, tmp_path / "out", invert=False), strict=True):
        assert one.equals(other)


def test_noisy_surroundings_can_be_left_out(tmp_path):
    image = made.micrograph(PARTICLES, SIZE, noise=0.3)
    image[:, 170:] += np.random.default_rng(5).normal(0, 3.0, (SIZE[0], 170)).astype(np.float32)
    star = made.write_set(tmp_path / "in", [image])
    every = pick(star, tmp_path / "all")[0]
    quiet = pick(star, tmp_path / "quiet", max_stddev_noise=0.9)[0]
    assert every["rlnCoordinateX"].max() > 180
    assert quiet["rlnCoordinateX"].max() < 180
    assert quiet.height > 5
    assert pick(star, tmp_path / "none", min_avg_noise=5.0)[0].height == 0


def test_a_map_is_projected_and_its_pixel_size_changed(tmp_path):
    # A ball with a lump, the same from everywhere but for the lump: found whatever the view.
    half = made.BOX // 2
    z, y, x = np.mgrid[-half:half, -half:half, -half:half] * 2.0 / made.ANGPIX
    ball = np.exp(-(x**2 + y**2 + z**2) / (2 * 5.0**2))
    write_map(tmp_path / "map.mrc", ball.astype(np.float32), 2.0)
    image = np.zeros(SIZE)
    where = [(80.0, 90.0), (200.0, 120.0), (150.0, 220.0), (270.0, 230.0)]
    for cx, cy in where:
        yy, xx = np.mgrid[: SIZE[0], : SIZE[1]]
        image += np.exp(-((xx - cx) ** 2 + (yy - cy) ** 2) / (2 * 5.0**2))
    image += np.random.default_rng(0).normal(0, 0.2, SIZE)
    star = made.write_set(tmp_path / "in", [(-image).astype(np.float32)])
    table = pick(star, tmp_path / "out", ref=tmp_path / "map.mrc", healpix_order=0, ang=360.0,
                 particle_diameter=60.0)[0]  # fmt: skip
    assert table.height == 4
    points = table.select("rlnCoordinateX", "rlnCoordinateY").to_numpy()
    assert cKDTree(where).query(points)[0].max() < 1.0


def blob_set(folder, diameters, noise=1.5):
    yy, xx = np.mgrid[:400, :400]
    image = np.random.default_rng(0).normal(0.0, noise, (400, 400))
    where = []
    for k, diameter in enumerate(diameters):
        cx, cy = 70 + 85 * (k % 4), 70 + 85 * (k // 4)
        radius = diameter / 2 / made.ANGPIX
        image -= (xx - cx) ** 2 + (yy - cy) ** 2 <= radius**2
        where.append((cx, cy))
    return made.write_set(folder, [image.astype(np.float32)]), np.array(where)


def test_blobs_of_a_particle_s_size_are_found_without_templates(tmp_path):
    star, where = blob_set(tmp_path / "in", [100.0] * 8 + [30.0] * 4 + [220.0] * 2)
    table = pick(star, tmp_path / "out", ref=None, LoG=True, LoG_diam_min=80.0, LoG_diam_max=120.0,
                 threshold=0.3)[0]  # fmt: skip
    points = table.select("rlnCoordinateX", "rlnCoordinateY").to_numpy()
    distance, which = cKDTree(where).query(points)
    assert sorted(which) == list(range(8))
    assert distance.max() < 2.5
    assert table["rlnClassNumber"].to_list() == [0] * 8


def test_what_is_done_is_left_alone(noisy, tmp_path):
    first = pick(noisy, tmp_path)
    paths = read_star(tmp_path / "autopick.star")["coordinate_files"]["rlnMicrographCoordinates"]
    Path(paths[1]).unlink()
    before = Path(paths[0]).stat().st_mtime_ns
    second = pick(noisy, tmp_path, only_do_unfinished=True)
    assert Path(paths[0]).stat().st_mtime_ns == before
    assert all(a.equals(b) for a, b in zip(first, second, strict=True))


def test_an_unusable_micrograph_is_left_out_and_told(noisy, tmp_path, caplog):
    images = [read_map(noisy.parent / f"mic{k}.mrc")[0][0] for k in (1, 2)]
    images[0][50, 60] = np.nan
    star = made.write_set(tmp_path / "in", images)
    found = pick(star, tmp_path / "out")
    assert len(found) == 1
    assert "not finite" in caplog.text
    assert "mic1.mrc" in caplog.text


def test_maps_are_written_with_their_pixel_size(noisy, tmp_path):
    table = pick(noisy, tmp_path, write_fom_maps=True, lowpass=20.0)[0]
    fom, pixel_size = read_map(next(tmp_path.glob("*mic1_autopick_fom.mrc")))
    assert pixel_size == pytest.approx(made.ANGPIX * SIZE[1] / fom.shape[2], rel=0.03)
    factor = made.ANGPIX / pixel_size
    best = table[0]
    y, x = (round(best[name][0] * factor) for name in ("rlnCoordinateY", "rlnCoordinateX"))
    near = fom[0, y - 1 : y + 2, x - 1 : x + 2].max()
    assert near == pytest.approx(best["rlnAutopickFigureOfMerit"][0], abs=1e-3)
    assert {path.name.split("_")[-1] for path in tmp_path.glob("*mic2_autopick_*.mrc")} == {
        "fom.mrc", "psi.mrc", "class.mrc", "avgNoise.mrc", "stddevNoise.mrc"
    }  # fmt: skip


def test_pictures_and_a_page_are_made(noisy, tmp_path):
    pick(noisy, tmp_path, pictures=1)
    assert [path.name for path in tmp_path.glob("*.jpg")] == ["mic1_autopick.jpg"]
    text = (tmp_path / "autopick.html").read_text(encoding="utf-8")
    assert text.count("data:image/jpeg;base64,") == 1
    assert "http" not in text
    assert (tmp_path / "coords_suffix_autopick.star").read_text() == f"{noisy}\n"


def test_coordinates_lie_as_the_micrographs_do_within_their_job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = made.micrograph(PARTICLES[:4], SIZE)
    made.write_set(Path("MotionCorr/job003/Mov"), [image])
    star = Path("MotionCorr/job003/Mov/micrographs.star")
    pick(star, Path("AutoPick/job009"))
    assert Path("AutoPick/job009/Mov/mic1_autopick.star").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ref": None}, "neither --ref nor --LoG"),
        ({"LoG": True}, "both --ref and --LoG"),
        ({"ref": None, "LoG": True}, "LoG_diam_min"),
        ({"ctf": True}, "rlnDefocusU"),
        ({"ref": Path("none.mrcs")}, "none.mrcs"),
        ({"angpix_ref": 90.0}, "than a micrograph has"),
        ({"particle_diameter": 5.0}, "--particle_diameter"),
        ({"sym": "X9"}, "X9"),
        ({"i": "nothing/*.mrc"}, "nothing/*.mrc"),
        ({"pickname": "a/b"}, "--pickname"),
    ],
)
def test_what_cannot_be_used_is_told_before_work_begins(noisy, tmp_path, capsys, change, said):
    options = {"i": str(noisy), "odir": tmp_path / "out", "ref": noisy.parent / "templates.mrcs",
               **REF, **change}  # fmt: skip
    words = []
    for name, value in options.items():
        if value is True:
            words.append(f"--{name}")
        elif value is not None:
            words += [f"--{name}", str(value)]
    refused(["autopick", *words])
    text = capsys.readouterr().err
    assert said in text
    assert "Traceback" not in text
    assert not (tmp_path / "out").exists()


def test_a_constant_template_is_named(noisy, tmp_path, capsys):
    stack, _ = read_map(noisy.parent / "templates.mrcs")
    stack[1] = 0.5
    write_map(tmp_path / "bad.mrcs", stack, made.ANGPIX, stack=True)
    words = ["autopick", "--i", str(noisy), "--odir", str(tmp_path / "out"), "--ref",
             str(tmp_path / "bad.mrcs"), "--particle_diameter", "96"]  # fmt: skip
    refused(words)
    assert "template 2" in capsys.readouterr().err


def test_micrographs_that_would_share_a_file_are_refused(noisy, tmp_path, capsys):
    table = read_star(noisy)
    names = [f"{tmp_path}/{k}/mic.mrc" for k in "ab"]
    for name, k in zip(names, (1, 2), strict=True):
        Path(name).parent.mkdir()
        write_map(name, read_map(noisy.parent / f"mic{k}.mrc")[0][0], made.ANGPIX)
    star = tmp_path / "same.star"
    from relion_mpi.io.star import write_star

    rows = table["micrographs"].with_columns(pl.Series("rlnMicrographName", names))
    write_star(star, {**table, "micrographs": rows})
    words = ["autopick", "--i", str(star), "--odir", str(tmp_path / "out"), "--ref",
             str(noisy.parent / "templates.mrcs")]  # fmt: skip
    refused(words)
    assert "names that differ" in capsys.readouterr().err
