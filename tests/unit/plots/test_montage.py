import numpy as np
import pytest
from PIL import Image

from relion_mpi.plots.montage import (
    CAPTION_PIX,
    GAP_PIX,
    LARGEST_TILE_PIX,
    SHEET_PIX,
    SMALLEST_TILE_PIX,
    central_slices,
    draw_montage,
    write_montage,
)

TOP = GAP_PIX + CAPTION_PIX


def ramp(n_y=40, n_x=40):
    return np.broadcast_to(np.arange(n_x, dtype=float), (n_y, n_x))


def test_slices_go_through_the_centre_across_each_axis():
    volume = np.zeros((8, 8, 8))
    volume[4, 1, 2], volume[3, 4, 5], volume[6, 7, 4] = 1.0, 2.0, 3.0
    slices = central_slices(volume)
    assert slices.shape == (8, 24)
    found = {(int(y), int(x)): slices[y, x] for y, x in np.argwhere(slices)}
    assert found == {(1, 2): 1.0, (3, 8 + 5): 2.0, (6, 16 + 7): 3.0}


def test_the_file_holds_every_image_at_its_place(tmp_path):
    images = [ramp(), -ramp(), ramp(), -ramp()]
    write_montage(tmp_path / "a.png", images, list("abcd"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    sheet = np.asarray(Image.open(tmp_path / "a.png"))
    step_x, step_y = SMALLEST_TILE_PIX + GAP_PIX, SMALLEST_TILE_PIX + CAPTION_PIX + GAP_PIX
    assert sheet.shape == (2 * step_y + GAP_PIX, 2 * step_x + GAP_PIX)
    for row in (0, 1):
        for column, sign in ((0, 1), (1, -1)):
            line = sheet[TOP + row * step_y + 80, GAP_PIX + column * step_x :][:SMALLEST_TILE_PIX]
            assert sign * (int(line[-10]) - int(line[10])) > 200


def test_every_image_has_its_own_grey_scale():
    one, two = (np.asarray(draw_montage([f * ramp() + f], ["x"])) for f in (1.0, 1e-6))
    np.testing.assert_array_equal(one, two)


def test_an_empty_class_is_flat():
    sheet = np.asarray(draw_montage([np.zeros((40, 40))], ["x"]))
    assert np.unique(sheet[TOP : TOP + 160, GAP_PIX : GAP_PIX + 160]).size == 1


def test_captions_are_drawn_over_their_images():
    bare, named = (np.asarray(draw_montage([ramp()], [text])) for text in ("", "class 1: 12.3 %"))
    assert np.abs(bare.astype(int) - named)[GAP_PIX:TOP].max() > 100
    np.testing.assert_array_equal(bare[TOP:], named[TOP:])


@pytest.mark.parametrize("n", [1, 2, 50])
@pytest.mark.parametrize("shape", [(40, 40), (600, 600), (64, 192)])
def test_sheets_fit_a_screen_and_tiles_can_be_read(n, shape):
    width, _ = draw_montage([np.ones(shape)] * n, [""] * n).size
    assert width <= SHEET_PIX
    tile = np.clip(shape[0], SMALLEST_TILE_PIX, LARGEST_TILE_PIX)
    assert width >= tile * shape[1] // shape[0]


def test_each_image_needs_a_caption():
    with pytest.raises(ValueError, match="zip"):
        draw_montage([ramp(), ramp()], ["one"])
