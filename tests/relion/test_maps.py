"""Masks and operations on maps are those of RELION's programs."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from factories.maps import blob_map

from relion_mpi.compare.align import Alignment, moved
from relion_mpi.core.option_parser import OptionParser
from relion_mpi.core.options import add_to_parser, from_namespace
from relion_mpi.fourier.masks import soft_sphere
from relion_mpi.geometry.symmetry import axis_rotation, point_group
from relion_mpi.io.mrc import read_map, write_map
from relion_mpi.maps.map_options import MapOptions
from relion_mpi.maps.map_program import change_map
from relion_mpi.maps.mask_options import MaskOptions
from relion_mpi.maps.mask_program import make_mask
from relion_mpi.maps.operations import symmetrised

BOX, PIXEL = 32, 2.0
TOLERANCE = 1e-6
"""Of the largest value: both write float32."""

pytestmark = [
    pytest.mark.relion,
    pytest.mark.skipif(
        shutil.which("relion_image_handler") is None, reason="RELION is not installed"
    ),
]


def both(relion, folder, program, words, volume=None):
    """The map of RELION's program and ours, of the same words."""
    if volume is None:
        noise = np.random.default_rng(1).normal(0, 0.1, (BOX,) * 3)
        volume = blob_map(BOX, 3, spread=0.15) + noise
    write_map(folder / "in.mrc", volume, PIXEL)
    relion(program, "--i", "in.mrc", "--o", "theirs.mrc", *words)
    kind, work = {
        "relion_mask_create": (MaskOptions, make_mask),
    }.get(program, (MapOptions, change_map))  # fmt: skip
    parser = OptionParser("ours")
    add_to_parser(parser, kind)
    line = ["--i", folder / "in.mrc", "--o", folder / "ours.mrc", *words]
    work(from_namespace(kind, parser.read([str(word) for word in line])))
    (theirs, pixel), (ours, our_pixel) = (
        read_map(folder / name) for name in ("theirs.mrc", "ours.mrc")
    )
    assert our_pixel == pytest.approx(pixel, rel=1e-6)
    return theirs, ours


@pytest.mark.parametrize(
    "words",
    [
        "--multiply_constant 2.5", "--bfactor 60", "--bfactor -60", "--lowpass 9", "--highpass 30",
        "--invert_hand", "--shift_x 3.3 --shift_y -2.6 --shift_z 0.2",
        "--shift_com", "--new_box 20", "--new_box 40", "--sym C3", "--sym D2",
        "--rescale_angpix 4 --lowpass 12", "--invert_hand --shift_x 4 --shift_y 3",
        "--lowpass 9 --shift_x 4 --new_box 24 --sym C3",
        "--bfactor 50 --lowpass 12 --rescale_angpix 4 --new_box 24",
    ],
)  # fmt: skip
def test_operations_are_those_of_image_handler(relion, tmp_path, words):
    theirs, ours = both(relion, tmp_path, "relion_image_handler", words.split())
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE * np.abs(theirs).max())


@pytest.mark.parametrize("name", ["T", "O", "I1", "I2", "I3", "I4"])
def test_symmetrised_maps_agree_within_the_ball(relion, tmp_path, name):
    """RELION's axes have six digits, which decide about voxels at the faces of the box."""
    theirs, ours = both(relion, tmp_path, "relion_image_handler", ["--sym", name])
    ball = soft_sphere(BOX, BOX / 2 - 2, 1, 3) > 0
    np.testing.assert_allclose(
        ours[ball], theirs[ball], rtol=0, atol=1e-5 * np.abs(theirs).max()
    )  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        "--ini_threshold 0.5 --extend_inimask 0 --width_soft_edge 0 --lowpass -1",
        "--ini_threshold 0.5 --extend_inimask 2.5 --width_soft_edge 0 --lowpass -1",
        "--ini_threshold 0.5 --extend_inimask 3 --width_soft_edge 5 --lowpass -1",
        "--ini_threshold 0.2 --extend_inimask 0 --width_soft_edge 4.5 --lowpass 15",
        "--ini_threshold 0.2 --extend_inimask -1.5 --width_soft_edge 3 --lowpass 15",
        "--ini_threshold 0.2 --extend_inimask 3 --width_soft_edge 5 --lowpass 15 --invert",
    ],
)
def test_masks_are_those_of_mask_create(relion, tmp_path, words):
    theirs, ours = both(relion, tmp_path, "relion_mask_create", words.split())
    assert 0 < theirs.mean() < 1
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["C3", "D2"])
def test_axes_are_found_at_least_as_well_as_by_align_symmetry(relion, tmp_path, name):
    group = point_group(name)
    volume = symmetrised(blob_map(BOX, 5, spread=0.15, sigma_pix=2.0), group)
    rotation = axis_rotation((1.0, -2.0, 0.5), 77.0)
    turned = moved(volume, PIXEL, Alignment(rotation, np.array([1.0, -1.5, 0.5])))
    write_map(tmp_path / "turned.mrc", turned, PIXEL)
    relion(
        "relion_align_symmetry", "--i", "turned.mrc", "--o", "theirs.mrc", "--sym", name,
        "--box_size", BOX,
    )  # fmt: skip
    change_map(
        MapOptions(
            i=tmp_path / "turned.mrc", o=tmp_path / "ours.mrc", align_symmetry=name
        )
    )  # fmt: skip
    theirs, ours = (
        asymmetry(read_map(tmp_path / file)[0], group) for file in ("theirs.mrc", "ours.mrc")
    )
    assert asymmetry(turned, group) > 0.3
    assert ours < 0.1
    assert ours < theirs + 0.01


def asymmetry(volume, group):
    """Deviation of a map from its average, relative to its own."""
    centred = volume - volume.mean()
    return np.sqrt(((symmetrised(centred, group) - centred) ** 2).sum() / (centred**2).sum())
