"""A picture of all classes of an iteration: slices or averages, each with a caption."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from relion_mpi.io.atomic import replacing

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray

SMALLEST_TILE_PIX, LARGEST_TILE_PIX = 160, 256
"""Height of a tile; smaller images are enlarged to the first, larger ones shrunk to the second."""
SHEET_PIX = 1600
"""About the widest that a screen shows whole."""
GAP_PIX, FONT_PIX, CAPTION_PIX = 8, 16, 24
DARKEST_PERCENT, BRIGHTEST_PERCENT = 0.5, 99.8
BACKGROUND, INK, FLAT = 24, 235, 0.5


def write_montage(
    path: str | os.PathLike[str], images: Sequence[NDArray[np.float64]], captions: Sequence[str]
) -> None:
    """Write images side by side, row by row, as a PNG file.

    Parameters
    ----------
    path
        File to replace.
    images : float64 (n_y, n_x) each, all of one shape
        Two-dimensional averages, or `central_slices` of maps.
    captions
        A line for each image.
    """
    sheet = draw_montage(images, captions)
    with replacing(path) as temporary:
        sheet.save(temporary, format="PNG")


def central_slices(volume: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cut a map through its centre across z, y and x, and lay the slices side by side.

    Parameters
    ----------
    volume : float64 (box, box, box)

    Returns
    -------
    float64 (box, 3 * box)
    """
    centre = volume.shape[0] // 2
    return np.hstack([volume[centre], volume[:, centre], volume[:, :, centre]])


def draw_montage(
    images: Sequence[NDArray[np.float64]], captions: Sequence[str]
) -> Image.Image:
    """Draw images on a sheet; parameters as in `write_montage`.

    Returns
    -------
    PIL.Image.Image
        Grey, 8 bits; each image has a grey scale of its own.
    """
    height, width = images[0].shape
    factor = float(np.clip(1.0, SMALLEST_TILE_PIX / height, LARGEST_TILE_PIX / height))
    tile = round(width * factor), round(height * factor)
    cell = tile[0] + GAP_PIX, tile[1] + CAPTION_PIX + GAP_PIX
    n_column = _columns(len(images), cell)
    n_row = -(-len(images) // n_column)
    size = n_column * cell[0] + GAP_PIX, n_row * cell[1] + GAP_PIX
    sheet = Image.new("L", size, BACKGROUND)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_PIX)
    for k, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left = GAP_PIX + k % n_column * cell[0]
        top = GAP_PIX + k // n_column * cell[1]
        pen.text((left + 2, top + 2), caption, fill=INK, font=font)
        grey = Image.fromarray(as_bytes(image))
        grey = grey.resize(tile, Image.Resampling.BICUBIC)
        sheet.paste(grey, (left, top + CAPTION_PIX))
    return sheet


def _columns(n: int, cell: tuple[int, int]) -> int:
    """Choose a number of columns: about square, no wider than a screen."""
    fit = max(1, (SHEET_PIX - GAP_PIX) // cell[0])
    return max(1, min(n, fit, round(math.sqrt(n * cell[1] / cell[0]))))


def as_bytes(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Stretch an image's grey values, the few darkest and brightest pixels cut off.

    Parameters
    ----------
    image : float (n_y, n_x)

    Returns
    -------
    uint8 (n_y, n_x)
    """
    low, high = np.percentile(image, (DARKEST_PERCENT, BRIGHTEST_PERCENT))
    if not high > low:
        return np.full(image.shape, round(255 * FLAT), np.uint8)
    scaled = np.clip((image - low) / (high - low), 0.0, 1.0)
    grey: NDArray[np.uint8] = np.round(255 * scaled).astype(np.uint8)
    return grey
