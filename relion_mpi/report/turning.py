"""The map in a form that a browser turns: few bytes, few grey values."""

from __future__ import annotations

import base64
import zlib
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.fourier.resample import fourier_resized

if TYPE_CHECKING:
    from relion_mpi.report.contour import Contour

SIDE = 88
"""Voxels a side: half a megabyte before it is packed."""
LOWEST, HIGHEST = 0.35, 3.5
"""Grey values that are kept, in contours; the solvent below is what packs badly."""


def turning_html(contour: Contour) -> str:
    """Write a map for the page's script, which draws it with WebGL where there is some.

    Parameters
    ----------
    contour
        Map and level.

    Returns
    -------
    str
        HTML: a button that the script shows if it can.
    """
    level = contour.level if contour.level > 0 else 1.0
    side = min(SIDE, contour.volume.shape[0] // 2 * 2)
    relative = fourier_resized(contour.volume, side) / level
    scaled = np.clip((relative - LOWEST) / (HIGHEST - LOWEST), 0.0, 1.0)
    grey = np.round(255.0 * scaled).astype(np.uint8)
    packed = base64.b64encode(zlib.compress(grey.tobytes(), 9)).decode()
    at = (1.0 - LOWEST) / (HIGHEST - LOWEST)
    return (
        f'<div class="turning" data-side="{side}" data-level="{at:.4f}" hidden>'
        f'<button type="button">Turn it</button>'
        f'<div hidden><canvas width="640" height="640" aria-label="{escape("the map; drag")}">'
        '</canvas><label class="slider">contour<input type="range" min="0.02" max="0.8" '
        f'step="0.002" value="{at:.4f}" aria-label="contour"></label></div>'
        f'<script type="application/octet-stream">{packed}</script></div>'
    )
