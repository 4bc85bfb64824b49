"""Arrays as pictures that lie in a page."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from PIL import Image

from relion_mpi.plots.montage import as_bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

JPEG_QUALITY = 86


def grey_uri(image: NDArray[np.floating], side_pix: int) -> str:
    """Write a slice or an average, its grey values stretched, as a data URI.

    Parameters
    ----------
    image : float (n_y, n_x)
    side_pix
        Height to enlarge or shrink it to.

    Returns
    -------
    str
        JPEG: grain compresses badly without loss.
    """
    return byte_uri(as_bytes(image), side_pix)


def byte_uri(grey: NDArray[np.uint8], side_pix: int) -> str:
    """Write grey values as they are; parameters and result as in `grey_uri`."""
    picture = Image.fromarray(grey)
    width = round(side_pix * picture.width / picture.height)
    return _uri(picture.resize((width, side_pix), Image.Resampling.BICUBIC), "JPEG")


def colour_uri(picture: NDArray[np.uint8]) -> str:
    """Write a picture with opacity as a data URI.

    Parameters
    ----------
    picture : uint8 (n_y, n_x, 4)

    Returns
    -------
    str
        PNG.
    """
    return _uri(Image.fromarray(picture), "PNG")


def _uri(image: Image.Image, kind: str) -> str:
    data = io.BytesIO()
    options = {"quality": JPEG_QUALITY} if kind == "JPEG" else {"optimize": True}
    image.save(data, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(data.getvalue()).decode()}"
