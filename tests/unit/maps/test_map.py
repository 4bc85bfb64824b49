"""Operations on maps whose result is known."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from factories.maps import blob_map

from relion_mpi.cli import main as command_line
from relion_mpi.compare.align import Alignment, moved
from relion_mpi.core.errors import InputError
from relion_mpi.geometry.symmetry import axis_rotation, point_group
from relion_mpi.io.mrc import read_map, write_map
from relion_mpi.maps.align_symmetry import align_symmetry
from relion_mpi.maps.filters import highpassed, lowpassed, with_bfactor
from relion_mpi.maps.map_options import MapOptions
from relion_mpi.maps.map_program import change_map
from relion_mpi.maps.operations import (
    centre_of_mass,
    even_side,
    other_hand,
    shifted,
    symmetrised,
)

BOX, PIXEL = 32, 2.0


def waves(*shells, box=BOX):
    """Plane waves along x, one a shell."""
    x = np.arange(box)
    line = sum(np.cos(2 * np.pi * k * x / box) for k in shells)
    return np.broadcast_to(line, (box,) * 3).copy()


def changed(tmp_path, volume, **options):
    """Map after some operations, as read from the file, and its pixel size."""
    write_map(tmp_path / "in.mrc", volume, PIXEL)
    change_map(MapOptions(i=tmp_path / "in.mrc", o=tmp_path / "out.mrc", **options))
    return read_map(tmp_path / "out.mrc")


def test_a_low_pass_removes_one_wave_and_keeps_another(tmp_path):
    cut = BOX * PIXEL / 7
    both, slow = waves(4, 10), waves(4)
    np.testing.assert_allclose(changed(tmp_path, both, lowpass=cut)[0], slow, atol=1e-5)


def test_a_high_pass_keeps_what_a_low_pass_removes():
    volume = blob_map(BOX)
    for resolution in (9.0, 14.2):
        parts = [f(volume, PIXEL, resolution) for f in (lowpassed, highpassed)]
        np.testing.assert_allclose(sum(parts), volume, atol=1e-12)


def test_a_bfactor_makes_a_wave_weaker():
    decay = np.exp(-80 / 4 * (5 / (BOX * PIXEL)) ** 2)
    np.testing.assert_allclose(with_bfactor(waves(5), PIXEL, 80.0), decay * waves(5), atol=1e-12)


def test_inverting_the_hand_mirrors_x_about_the_centre():
    volume = blob_map(BOX)
    other = other_hand(volume)
    c = BOX // 2
    assert other[3, 4, c + 5] == volume[3, 4, c - 5]
    np.testing.assert_array_equal(other_hand(other), volume)
    assert not np.array_equal(other, volume)


def test_shifting_there_and_back_gives_the_map():
    volume = blob_map(BOX, spread=0.1)
    there = shifted(volume, (3, -2, 1))
    c = BOX // 2
    assert there[c + 1, c - 2, c + 3] == pytest.approx(volume[c, c, c])
    # What left the box is lost; there the blobs are weak.
    np.testing.assert_allclose(shifted(there, (-3, 2, -1)), volume, atol=2e-4 * volume.max())


def test_the_centre_of_mass_goes_to_the_centre(tmp_path):
    volume = blob_map(BOX, spread=0.12)
    assert np.abs(centre_of_mass(volume)).max() > 0.3
    centred, _ = changed(tmp_path, volume, shift_com=True)
    np.testing.assert_allclose(centre_of_mass(centred), 0, atol=1e-3)


def test_rescaling_keeps_waves_and_says_the_true_pixel_size(tmp_path, caplog):
    # 32 voxels of 2 A are 26.7 of 2.4 A; the box has 26 of 2.46 A.
    smaller, pixel = changed(tmp_path, waves(4), rescale_angpix=2.4)
    assert pixel == pytest.approx(64 / 26, rel=1e-6)
    assert "--rescale_angpix" in caplog.text
    x = np.arange(26) - 13
    np.testing.assert_allclose(smaller[0, 0], np.cos(2 * np.pi * 4 * x / 26), atol=1e-5)


@pytest.mark.parametrize(("ratio", "side"), [(1.0, 32), (0.5, 16), (0.9, 28), (0.92, 28), (2, 64)])
def test_the_new_side_is_even(ratio, side):
    assert even_side(32, ratio) == side


def test_a_new_box_keeps_the_centre_voxel(tmp_path):
    volume = blob_map(BOX)
    for side in (20, 40):
        out, pixel = changed(tmp_path, volume, new_box=side)
        assert out.shape == (side,) * 3
        assert pixel == pytest.approx(PIXEL)
        assert out[side // 2, side // 2, side // 2] == pytest.approx(volume[16, 16, 16])


def test_a_symmetrised_map_has_the_symmetry():
    volume = symmetrised(blob_map(BOX, spread=0.12), point_group("D2"))
    c = BOX // 2
    # Two-fold axes are exact on the grid: x, y, z to -x, -y, z and to x, -y, -z.
    assert volume[c + 3, c + 4, c + 5] == pytest.approx(volume[c + 3, c - 4, c - 5])
    assert volume[c + 3, c + 4, c + 5] == pytest.approx(volume[c - 3, c - 4, c + 5])


def test_operations_are_done_in_the_documented_order(tmp_path):
    """The hand comes before the shift, which is in pixels of the input."""
    axis = np.arange(BOX) - BOX // 2
    lines = [np.exp(-((axis - at) ** 2) / 8) for at in (4, -2, 2)]  # z, y, x
    volume = np.einsum("i,j,k->ijk", *lines)
    out, _ = changed(
        tmp_path, volume, multiply_constant=2, invert_hand=True, shift_x=4, rescale_angpix=4.0
    )
    assert out.max() == pytest.approx(2.0, abs=0.02)
    assert np.array(np.unravel_index(out.argmax(), out.shape)).tolist() == [8 + 2, 8 - 1, 8 + 1]


def turned(volume, rotation, shift_angst):
    return moved(volume, PIXEL, Alignment(rotation, np.array(shift_angst)))


def off_axes_deg(rotation, group):
    """How far a rotation is from one that leaves the axes of a group where they are."""
    copies = rotation @ group.operators @ rotation.T
    traces = np.einsum("nij,mij->nm", copies, group.operators)
    return np.degrees(np.arccos(np.clip((traces.max(axis=1) - 1) / 2, -1, 1))).max()


@pytest.mark.parametrize("name", ["C3", "D2", "T"])
def test_the_axes_of_a_turned_map_are_found(name):
    group = point_group(name)
    volume = symmetrised(blob_map(BOX, 5, spread=0.15, sigma_pix=2.0), group)
    rotation, shift = axis_rotation((1.0, -2.0, 0.5), 77.0), (1.0, -1.5, 0.5)
    assert off_axes_deg(rotation, group) > 10
    fit = align_symmetry(turned(volume, rotation, shift), PIXEL, group)
    assert off_axes_deg(fit.alignment.rotation @ rotation, group) < 0.5
    centre = fit.alignment.rotation @ np.array(shift) + fit.alignment.translation_angst
    assert np.abs(centre[: 2 if name == "C3" else 3]).max() < 0.05 * PIXEL
    assert fit.correlation > 0.98


def test_a_turned_map_is_brought_back_to_its_axes(tmp_path):
    group = point_group("D2")
    volume = symmetrised(blob_map(BOX, 5, spread=0.15, sigma_pix=2.0), group)
    before = turned(volume, axis_rotation((1.0, -2.0, 0.5), 77.0), (1.0, -1.5, 0.5))
    out, _ = changed(tmp_path, before, align_symmetry="D2", sym="D2")
    # Axes of D2 may come back in another order.
    orders = [volume, *(other_axes(volume, k) for k in range(1, 6))]
    best = max(np.corrcoef(one.ravel(), out.ravel())[0, 1] for one in orders)
    assert best > 0.98


def other_axes(volume, k):
    """The map turned so that its axes x, y, z go to others of them."""
    to_next = axis_rotation((1.0, 1.0, 1.0), 120.0 * (k % 3))
    quarter = axis_rotation((0.0, 0.0, 1.0), 90.0 * (k // 3))
    return turned(volume, to_next @ quarter, (0.0, 0.0, 0.0))


def test_a_map_with_its_axes_in_place_stays(tmp_path):
    volume = symmetrised(blob_map(BOX, 5, spread=0.15, sigma_pix=2.0), point_group("D2"))
    out, _ = changed(tmp_path, volume, align_symmetry="D2")
    np.testing.assert_allclose(out, volume, atol=0.03 * volume.max())


def test_a_map_without_the_symmetry_is_warned_about(tmp_path, caplog):
    changed(tmp_path, blob_map(BOX, 8), align_symmetry="D2")
    assert "may not have the symmetry D2" in caplog.text


def test_a_map_is_put_onto_another_of_the_other_hand(tmp_path):
    volume = blob_map(BOX, 6, spread=0.15, sigma_pix=2.0)
    write_map(tmp_path / "target.mrc", volume, PIXEL)
    before = turned(other_hand(volume), axis_rotation((1.0, -2.0, 0.5), 77.0), (1.0, -1.5, 0.5))
    out, _ = changed(tmp_path, before, align_to=tmp_path / "target.mrc")
    assert np.corrcoef(before.ravel(), volume.ravel())[0, 1] < 0.8
    assert np.corrcoef(out.ravel(), volume.ravel())[0, 1] > 0.98


def test_statistics_are_told_and_nothing_is_written(tmp_path, caplog):
    write_map(tmp_path / "in.mrc", waves(4) + 1, PIXEL)
    with caplog.at_level(logging.INFO):
        change_map(MapOptions(i=tmp_path / "in.mrc", stats=True))
    assert "box 32 pixel_angst 2 min 0 max 2 mean 1 deviation 0.707107" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["in.mrc"]


def test_a_map_to_write_or_statistics_must_be_asked_for(tmp_path):
    with pytest.raises(InputError, match="neither --o nor --stats"):
        change_map(MapOptions(i=tmp_path / "in.mrc"))


def test_a_stack_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected a cube"):
        changed(tmp_path, np.zeros((3, 8, 8)), lowpass=10.0)


def test_values_that_are_not_finite_are_refused(tmp_path):
    volume = np.zeros((8, 8, 8))
    volume[1, 2, 3] = np.nan
    with pytest.raises(InputError, match="1 voxels that are not finite"):
        changed(tmp_path, volume, lowpass=10.0)


def test_either_name_of_the_other_hand_is_understood(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_map("in.mrc", blob_map(BOX), PIXEL)
    for flag in ("--invert_hand", "--flip_hand"):
        assert command_line.main(["map", "--i", "in.mrc", "--o", f"{flag[2:]}.mrc", flag]) == 0
    maps = [read_map(f"{flag[2:]}.mrc")[0] for flag in ("--invert_hand", "--flip_hand")]
    np.testing.assert_array_equal(*maps)
    np.testing.assert_allclose(maps[0], other_hand(blob_map(BOX)), atol=1e-6)
