"""Particles of two bodies less one of them are particles of the other, with the same noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from factories.stars import PIXEL_ANGST
from factories.subtraction import APART, BOX, SPREAD, N, make_bodies

from relion_mpi.core.errors import InputError
from relion_mpi.geometry.euler import euler_to_matrix
from relion_mpi.io.mrc import read_header, read_map, write_map
from relion_mpi.io.star import read_star, write_star
from relion_mpi.parallel.abort import AgreedStop
from relion_mpi.parallel.comm import World
from relion_mpi.subtract.framing import boxed, centre_of_mass, moved_images
from relion_mpi.subtract.options import SubtractOptions
from relion_mpi.subtract.program import subtract
from relion_mpi.subtract.source import find_source
from relion_mpi.subtract.start import make_start

INTERPOLATION = 0.01
"""Of the largest pixel of what is subtracted: slices are interpolated linearly, the truth is not.
The error falls with the square of the padding, which is 3 in these runs."""
AT_PADDING_2 = 0.0225
TABLE = "particles_subtracted.star"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_bodies(tmp_path_factory.mktemp("bodies"), norms=True, scales=(0.8, 1.2))


def subtracted(made, out, **changes):
    """Images in the order of the table, and the table."""
    values = {"i": made.optimiser, "o": out, "mask": made.mask, "j": 1}
    subtract(SubtractOptions(**(values | changes)), World(None, 0, 1))
    tables = read_star(out / TABLE)
    names = tables["particles"]["rlnImageName"].to_list()
    stacks = {name.split("@")[1] for name in names}
    assert len(stacks) == 1
    assert [int(name.split("@")[0]) for name in names] == list(range(1, len(names) + 1))
    return read_map(stacks.pop())[0].astype(float), tables


def check(made, found, tolerance=INTERPOLATION):
    """What remains is the kept body and the noise, on the grey scale of the images."""
    norm = made.norm[:, None, None]
    error = np.abs(found / norm - (made.kept + made.noise)).max()
    assert error < tolerance * np.abs(made.away).max()


def refused(capfd, words, **changes):
    """A job that ends with status 1 and one line."""
    with pytest.raises(AgreedStop) as stopped:
        subtract(SubtractOptions(**changes), World(None, 0, 1))
    assert stopped.value.code == 1
    assert words in capfd.readouterr().err


def test_what_is_left_is_the_kept_body_with_its_noise(made, tmp_path):
    """Norms of particles and scales of groups count."""
    found, tables = subtracted(made, tmp_path / "out")
    check(made, found)
    table, before = tables["particles"], read_star(made.data)["particles"]
    assert table["rlnImageOriginalName"].to_list() == before["rlnImageName"].to_list()
    others = [name for name in before.columns if name != "rlnImageName"]
    assert table.select(others).equals(before.select(others))
    assert tables["optics"].equals(read_star(made.data)["optics"])


def test_without_a_mask_only_the_noise_is_left(made, tmp_path):
    found, _ = subtracted(made, tmp_path / "out", mask=None)
    error = np.abs(found / made.norm[:, None, None] - made.noise).max()
    assert error < INTERPOLATION * np.abs(made.away + made.kept).max()


def test_images_may_be_brought_to_the_map_s_grey_scale(made, tmp_path):
    ours, _ = subtracted(made, tmp_path / "a")
    theirs, _ = subtracted(made, tmp_path / "b", compat="relion3")
    np.testing.assert_allclose(theirs, ours / made.norm[:, None, None], atol=2e-6)


@pytest.mark.parametrize("halves", [1, 2])
def test_each_particle_is_of_its_half_set_and_class(tmp_path, halves):
    made = make_bodies(tmp_path / "set", halves=halves, classes=2)
    check(made, subtracted(made, tmp_path / "out")[0])


def test_classes_may_be_ignored(tmp_path):
    made = make_bodies(tmp_path / "set")
    blocks = read_star(made.data)
    table = blocks["particles"].with_columns(rlnClassNumber=pl.lit(4))
    write_star(tmp_path / "four.star", {**blocks, "particles": table})
    with pytest.raises(InputError, match=r"row 1: rlnClassNumber is 4, expected 1 to 1.*--ignore"):
        make_start(SubtractOptions(i=made.optimiser, data=tmp_path / "four.star"))
    check(made, subtracted(
        made, tmp_path / "out", data=tmp_path / "four.star", ignore_class=True)[0])  # fmt: skip


def test_the_files_of_a_run_may_be_named_by_its_particles_or_a_map(made, tmp_path):
    by_optimiser, _ = subtracted(made, tmp_path / "a")
    by_data, _ = subtracted(made, tmp_path / "b", i=made.data)
    np.testing.assert_array_equal(by_data, by_optimiser)
    plain = make_bodies(tmp_path / "set")
    by_map, _ = subtracted(
        plain, tmp_path / "c", i=plain.data, ref=plain.folder / "run_class001.mrc"
    )
    check(plain, by_map, AT_PADDING_2)


def test_some_particles_only(made, tmp_path):
    blocks = read_star(made.data)
    write_star(tmp_path / "some.star", {**blocks, "particles": blocks["particles"][5:9]})
    every, _ = subtracted(made, tmp_path / "a")
    some, tables = subtracted(made, tmp_path / "b", data=tmp_path / "some.star")
    np.testing.assert_array_equal(some, every[5:9])
    assert tables["particles"]["someOtherLabel"].to_list() == ["w5", "w6", "w7", "w8"]


def test_particles_are_centred_on_the_mask(made, tmp_path):
    """The mask's centre of mass is seen at the centre of the image, within the new offset."""
    plain, _ = subtracted(made, tmp_path / "a")
    found, tables = subtracted(made, tmp_path / "b", recenter_on_mask=True)
    table = tables["particles"]
    centre = np.array([np.arange(BOX // 2).mean(), -0.5, -0.5])
    np.testing.assert_allclose(centre_of_mass(read_map(made.mask)[0]), centre, atol=1e-6)
    seen = (euler_to_matrix(*made.eulers.T) @ centre)[:, :2]
    wanted = made.offsets_angst / PIXEL_ANGST - seen
    origin = np.stack([table[f"rlnOrigin{axis}Angst"] for axis in "XY"], axis=1) / PIXEL_ANGST
    moved = np.rint(wanted - origin)
    np.testing.assert_allclose(wanted - origin, moved, atol=1e-6)
    assert np.abs(origin).max() <= 0.5 + 1e-6
    for image, before, (dx, dy) in zip(found, plain, moved.astype(int), strict=True):
        np.testing.assert_array_equal(image, np.roll(before, (dy, dx), (0, 1)))


def test_the_kept_body_is_at_the_centre_of_a_smaller_box(tmp_path):
    """A body about a place in the map is about the centre of new boxes, less the new offset."""
    made = make_bodies(tmp_path / "set")
    side = 16
    noisy, tables = subtracted(
        made, tmp_path / "out", center_x=float(APART), center_y=0.0, new_box=side
    )
    assert noisy.shape == (N, side, side)
    assert tables["optics"]["rlnImageSize"].to_list() == [side]
    table = tables["particles"]
    origin = np.stack([table[f"rlnOrigin{axis}Angst"] for axis in "XY"], axis=1) / PIXEL_ANGST
    # Summed over particles, each moved back by what is left: noise and CTFs average out.
    k = np.fft.fftfreq(side)
    power = np.zeros((side, side))
    for image, (dx, dy) in zip(noisy, origin, strict=True):
        phase = np.exp(-2j * np.pi * (k * dx + k[:, None] * dy))
        power += np.fft.ifft2(np.fft.fft2(image) * phase).real ** 2
    rows, columns = power.sum(axis=1), power.sum(axis=0)
    place = np.arange(side) - side // 2
    excess = [np.clip(one - np.median(one), 0, None) for one in (columns, rows)]
    centre = [(place * one).sum() / one.sum() for one in excess]
    assert np.abs(centre).max() < SPREAD * BOX


def test_a_larger_box_has_zeros_around(made, tmp_path):
    plain, _ = subtracted(made, tmp_path / "a")
    found, _ = subtracted(made, tmp_path / "b", new_box=40)
    np.testing.assert_array_equal(found[:, 4:36, 4:36], plain)
    assert not found[:, :4].any()
    assert not found[:, :, 36:].any()


def test_half_precision_stays_and_may_be_asked_for(made, tmp_path):
    plain, _ = subtracted(made, tmp_path / "a")
    found, _ = subtracted(made, tmp_path / "b", float16=True)
    np.testing.assert_array_equal(found, plain.astype(np.float16))
    half = make_bodies(tmp_path / "set", dtype=np.float16)
    subtracted(half, tmp_path / "c")
    names = [tmp_path / out / "Particles" / "subtracted_opticsgroup1.mrcs" for out in "abc"]
    assert [read_header(name).mode for name in names] == [2, 12, 12]
    assert read_header(names[0]).pixel_size_angst == pytest.approx(PIXEL_ANGST)


def test_the_original_images_come_back(made, tmp_path, capfd):
    subtracted(made, tmp_path / "a", new_box=20)
    table = tmp_path / "a" / TABLE
    subtract(SubtractOptions(revert=table, o=tmp_path / "b"), World(None, 0, 1))
    found, before = read_star(tmp_path / "b" / "original.star"), read_star(made.data)
    assert found["particles"].select(before["particles"].columns).equals(before["particles"])
    assert found["optics"].equals(before["optics"])
    words = "no particles with rlnImageName and rlnImageOriginalName"
    refused(capfd, words, revert=made.data, o=tmp_path / "c")


def test_the_ratio_is_that_of_signal_and_noise_put_in(tmp_path):
    """White noise is white; in shells of many pixels both are found to a few percent."""
    made = make_bodies(tmp_path / "set")
    subtract(SubtractOptions(i=made.optimiser, o=tmp_path / "out", ssnr=True), World(None, 0, 1))
    table = read_star(tmp_path / "out" / "spectral_snr.star")[""]
    noise = table["rlnSigma2Noise"].to_numpy()[5:]
    np.testing.assert_allclose(noise, made.noise.var() / (2 * BOX**2), rtol=0.15)
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(BOX) * BOX, np.fft.fftfreq(BOX) * BOX)).round()
    power = (np.abs(np.fft.fft2(made.kept + made.away)) ** 2).mean(axis=0) / BOX**4 / 2
    expected = [power[radius == shell].mean() for shell in range(2, 9)]
    signal = table["rlnReferenceTau2"].to_numpy()[2:9]
    # Here the column x = 0 counts once a pixel pair and others twice.
    np.testing.assert_allclose(signal, expected, rtol=0.1)
    ratio = table["rlnSignalToNoiseRatio"].to_numpy()
    np.testing.assert_allclose(ratio[2:9], signal / table["rlnSigma2Noise"].to_numpy()[2:9])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"i": None}, "--i is required"),
        ({"i": Path("nothing.star")}, "no such file"),
        ({"new_box": 21}, "found an odd number"),
        ({"recenter_on_mask": True, "center_x": 3.0}, "expected one centre"),
        ({"recenter_on_mask": True, "mask": None}, "found no --mask"),
        ({"mask": Path("nothing.mrc")}, "no such file"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_written(made, tmp_path, changes, words):
    values = {"i": made.optimiser, "o": tmp_path / "out", "mask": made.mask}
    with pytest.raises(InputError, match=words):
        make_start(SubtractOptions(**(values | changes)))
    assert list(tmp_path.iterdir()) == []


def test_files_of_no_refinement_are_refused(made, tmp_path):
    with pytest.raises(InputError, match="neither an optimiser nor"):
        find_source(SubtractOptions(i=made.folder / "run_model.star"))
    optimiser = read_star(made.optimiser)["optimiser_general"]
    del optimiser["rlnModelStarFile"]
    write_star(tmp_path / "a.star", {"optimiser_general": optimiser})
    with pytest.raises(InputError, match="found no rlnModelStarFile"):
        find_source(SubtractOptions(i=tmp_path / "a.star"))


def test_particles_of_another_run_are_refused(made, tmp_path):
    blocks = read_star(made.data)
    names = [f"other{k}.mrc" for k in range(N)]
    table = blocks["particles"].with_columns(pl.Series("rlnMicrographName", names))
    write_star(tmp_path / "other.star", {**blocks, "particles": table})
    with pytest.raises(InputError, match=r"found the group 'other0\.mrc'"):
        make_start(SubtractOptions(i=made.optimiser, data=tmp_path / "other.star"))
    halves = make_bodies(tmp_path / "halves", halves=2)
    with pytest.raises(InputError, match="found no column rlnRandomSubset"):
        make_start(SubtractOptions(i=halves.optimiser, data=made.data))


def test_a_mask_of_another_box_is_refused(made, tmp_path):
    write_map(tmp_path / "mask.mrc", np.ones((16, 16, 16)), PIXEL_ANGST)
    with pytest.raises(InputError, match="box of 16 voxels"):
        make_start(SubtractOptions(i=made.optimiser, mask=tmp_path / "mask.mrc"))


def test_an_image_that_is_not_finite_leaves_no_files(tmp_path):
    made = make_bodies(tmp_path / "set")
    images = made.images.copy()
    images[3, 2, 2] = np.nan
    write_map(made.folder / "particles.mrcs", images, PIXEL_ANGST, stack=True)
    with pytest.raises(InputError, match=r"row 4: found NaN or infinite pixels in 000004@"):
        subtracted(made, tmp_path / "out")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_particles_are_not_written_over_themselves(made, tmp_path, capfd):
    before, _ = subtracted(made, tmp_path / "out")
    table = tmp_path / "out" / TABLE
    refused(capfd, "expected another folder", i=made.optimiser, o=tmp_path / "out", data=table)
    stack = tmp_path / "out" / "Particles" / "subtracted_opticsgroup1.mrcs"
    np.testing.assert_array_equal(read_map(stack)[0], before)


def test_images_are_moved_and_boxed_about_their_centres():
    image = np.zeros((1, 8, 8))
    image[0, 4, 4] = 1.0
    moved = moved_images(image, np.array([[1, -2]]))
    assert moved[0, 2, 5] == 1.0
    for side in (4, 12):
        assert boxed(image, side)[0, side // 2, side // 2] == 1.0
