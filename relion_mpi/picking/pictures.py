"""Pictures of micrographs with what was picked in them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from relion_mpi.io.atomic import replacing

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from relion_mpi.picking.worker import Picks

LONGEST_PIX = 1024
"""About the longest side of a picture."""
SMOOTHING_ANGST = 8.0
"""Pictures are averages of at least so much, which shows particles in the noise."""
DARKEST, BRIGHTEST = 0.5, 99.5
QUALITY = 80
GREEN = (64, 224, 96)


def thumbnail(image: NDArray[np.float32], pixel_size_angst: float) -> bytes:
    """Make a small picture of a micrograph.

    Parameters
    ----------
    image : float32 (y, x)
    pixel_size_angst
        Angstrom.

    Returns
    -------
    bytes
        JPEG, grey.
    """
    block = max(
        -(-max(image.shape) // LONGEST_PIX), int(SMOOTHING_ANGST / (2 * pixel_size_angst)), 1
    )
    n_y, n_x = image.shape[0] // block, image.shape[1] // block
    blocks = image[: n_y * block, : n_x * block].reshape(n_y, block, n_x, block)
    small = blocks.mean(axis=(1, 3), dtype=np.float64)
    low, high = np.percentile(small, (DARKEST, BRIGHTEST))
    grey = np.clip((small - low) / max(high - low, 1e-12), 0.0, 1.0)
    picture = Image.fromarray(np.round(255 * grey).astype(np.uint8))
    enlarged = max(1, LONGEST_PIX // max(n_y, n_x))
    picture = picture.resize((n_x * enlarged, n_y * enlarged), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=QUALITY)
    return buffer.getvalue()


def write_marked(
    path: Path, picks: Picks, shape: tuple[int, int], radius_pix: float
) -> None:
    """Draw circles around the picks on the picture of a micrograph.

    Parameters
    ----------
    path
        JPEG to replace; its folder exists.
    picks
        Particles, with a picture.
    shape
        (y, x) of the micrograph.
    radius_pix
        Of the circles, pixels of the micrograph.
    """
    picture = Image.open(io.BytesIO(picks.picture)).convert("RGB")
    pen, factor = ImageDraw.Draw(picture), picture.width / shape[1]
    for x, y in zip(picks.x * factor, picks.y * factor, strict=True):
        reach = radius_pix * factor
        pen.ellipse((x - reach, y - reach, x + reach, y + reach), outline=GREEN, width=2)
    with replacing(path) as temporary:
        picture.save(temporary, format="JPEG", quality=QUALITY)
