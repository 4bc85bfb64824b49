"""Masks of bodies whose volume and edge are known."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from relion_mpi.cli import main as command_line
from relion_mpi.core.errors import InputError
from relion_mpi.fourier.shells import radius_grid
from relion_mpi.io.mrc import read_map, write_map
from relion_mpi.maps.mask import extended, filled, soft_edged
from relion_mpi.maps.mask_options import MaskOptions
from relion_mpi.maps.mask_program import make_mask
from relion_mpi.maps.threshold import automatic_threshold

BOX, PIXEL, RADIUS = 48, 3.0, 12.0


def ball(radius=RADIUS, box=BOX):
    return (radius_grid(box, 3) <= radius).astype(np.float32)


def made(tmp_path, volume, **options):
    """Mask of a map, as read from the file."""
    write_map(tmp_path / "map.mrc", volume, PIXEL)
    make_mask(MaskOptions(i=tmp_path / "map.mrc", o=tmp_path / "mask.mrc", **options))
    mask, pixel = read_map(tmp_path / "mask.mrc")
    assert pixel == pytest.approx(PIXEL)
    return mask


def test_a_grown_ball_is_the_larger_ball(tmp_path):
    mask = made(
        tmp_path, ball(), lowpass=-1, ini_threshold=0.5, extend_inimask=3, width_soft_edge=0
    )
    # The surface of a ball of voxels is rough by less than a voxel.
    assert (ball(RADIUS + 2) <= mask).all()
    assert (mask <= ball(RADIUS + 3)).all()
    volume = 4 / 3 * np.pi * (RADIUS + 2.5) ** 3
    assert mask.sum() == pytest.approx(volume, rel=0.02)
    assert set(np.unique(mask)) == {0.0, 1.0}


def test_the_edge_is_a_raised_cosine_of_the_distance(tmp_path):
    mask = made(
        tmp_path, ball(), lowpass=-1, ini_threshold=0.5, extend_inimask=0, width_soft_edge=5
    )
    c = BOX // 2
    line = mask[c, c, c + int(RADIUS) :]
    steps = np.arange(line.size)
    expected = np.where(steps < 5, 0.5 + 0.5 * np.cos(np.pi * steps / 5), 0.0)
    np.testing.assert_allclose(line, expected, atol=1e-6)


def test_the_edge_is_measured_to_the_nearest_voxel_inside():
    inside = np.zeros((9, 9, 9), bool)
    inside[4, 4, 4] = True
    mask = soft_edged(inside, 4.0)
    assert mask[4, 5, 6] == pytest.approx(0.5 + 0.5 * np.cos(np.pi * np.sqrt(5) / 4))
    assert mask[4, 4, 8] == 0


def test_growing_takes_voxels_strictly_nearer():
    inside = np.zeros((9, 9, 9), bool)
    inside[4, 4, 4] = True
    assert extended(inside, 1.0).sum() == 1
    assert extended(inside, 1.1).sum() == 7
    assert extended(inside, 2.0).sum() == 27


def test_shrinking_undoes_growing_of_a_cube():
    inside = np.zeros((15, 15, 15), bool)
    inside[4:11, 4:11, 4:11] = True
    small = extended(inside, -2.0)
    assert small.sum() == 5**3
    assert small[5:10, 5:10, 5:10].all()


def test_enclosed_holes_are_filled_and_open_ones_are_not():
    shell = ball(8, 24).astype(bool) & ~ball(4, 24).astype(bool)
    assert filled(shell).sum() == ball(8, 24).sum()
    tunnel = shell.copy()
    tunnel[12, 12, 12:] = False
    assert filled(tunnel).sum() == tunnel.sum()


def test_holes_are_filled_only_where_asked_for(tmp_path):
    shell = ball(14) - ball(8)
    options = {"lowpass": -1, "ini_threshold": 0.5, "extend_inimask": 0, "width_soft_edge": 0}
    assert made(tmp_path, shell, **options).sum() == shell.sum()
    assert made(tmp_path, shell, fill=True, **options).sum() == ball(14).sum()


def test_an_inverted_mask_and_the_mask_make_one(tmp_path):
    mask = made(tmp_path, ball(), ini_threshold=0.5)
    inverted = made(tmp_path, ball(), ini_threshold=0.5, invert=True)
    np.testing.assert_allclose(mask + inverted, 1.0, atol=1e-6)


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0])
def test_the_automatic_threshold_finds_the_surface_of_a_ball(tmp_path, noise, caplog):
    rng = np.random.default_rng(4)
    volume = 100 * (ball() + rng.normal(0, noise, (BOX,) * 3)).astype(np.float32)
    with caplog.at_level(logging.INFO):
        mask = made(tmp_path, volume, extend_inimask=0, width_soft_edge=0)
    assert "--ini_threshold" in caplog.text
    inside = ball().astype(bool)
    overlap = 2 * (mask.astype(bool) & inside).sum() / (mask.sum() + inside.sum())
    assert overlap > 0.93


def test_the_automatic_threshold_is_not_in_the_noise():
    noise = np.random.default_rng(1).normal(0, 1, (BOX,) * 3)
    weak = noise + 6 * ball(2)
    assert automatic_threshold(weak) > 2.9


def test_the_automatic_threshold_follows_the_grey_scale():
    volume = ball() + np.random.default_rng(2).normal(0, 0.1, (BOX,) * 3)
    assert automatic_threshold(7 * volume) == pytest.approx(7 * automatic_threshold(volume))


def test_a_threshold_above_everything_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"--ini_threshold 5: found no voxels"):
        made(tmp_path, ball(), ini_threshold=5.0)
    assert not (tmp_path / "mask.mrc").exists()


def test_shrinking_to_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match="nothing is left"):
        made(tmp_path, ball(), ini_threshold=0.5, extend_inimask=-20)


def test_the_map_is_not_replaced_by_its_mask(tmp_path):
    write_map(tmp_path / "map.mrc", ball(), PIXEL)
    with pytest.raises(InputError, match="another name"):
        make_mask(MaskOptions(i=tmp_path / "map.mrc", o=tmp_path / "map.mrc"))


def test_relion_s_line_is_understood(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_map("map.mrc", ball(), PIXEL)
    line = (
        "mask --i map.mrc --o Mask/mask.mrc --lowpass 15 --angpix 3 --ini_threshold 0.02 "
        "--extend_inimask 3 --width_soft_edge 5 --j 1 --pipeline_control Mask/"
    )
    Path("Mask").mkdir()
    assert command_line.main(line.split()) == 0
    assert read_map("Mask/mask.mrc")[0].max() == 1
    assert Path("Mask/RELION_JOB_EXIT_SUCCESS").exists()
