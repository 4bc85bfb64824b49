"""The map: its surface and slices through its centre."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.plots.images import byte_uri, colour_uri
from relion_mpi.plots.montage import as_bytes, central_slices
from relion_mpi.plots.surface import SIDE_PIX
from relion_mpi.report.contour import Contour
from relion_mpi.report.panel import Panel, image
from relion_mpi.report.turning import turning_html

if TYPE_CHECKING:
    from relion_mpi.report.gather.run import Run
    from relion_mpi.report.gather.volumes import Volume

SLICE_PIX = 224
AXES = ("along z", "along y", "along x")


def surface_panel(run: Run) -> Panel | None:
    """Show the surface of the sharpened map, or of the map."""
    found = _shown(run)
    if found is None:
        return None
    volume, is_sharpened = found
    contour = Contour.of(volume, None if is_sharpened else run.last)
    if contour is None:
        return None
    views = contour.views(SIDE_PIX)
    body = "".join(
        _figure(image(colour_uri(view), f"surface seen {axis}", "surface"), axis)
        for view, axis in zip(views, AXES, strict=True)
    )
    return Panel(
        "surface", "The map", f'<div class="three">{body}</div>{turning_html(contour)}',
        f"Surface of {volume.name} at {contour.level:.3g}, half-way between particle and solvent. "
        "It should be one body without dust around it, as smooth as its resolution and no "
        "smoother; spikes that all point one way speak of preferred views.", wide=True,
    )  # fmt: skip


def slices_panel(run: Run) -> Panel | None:
    """Show three slices through the centre."""
    found = _shown(run)
    if found is None:
        return None
    volume, _ = found
    # one grey scale for all three, so that they can be compared
    slices = np.hsplit(as_bytes(central_slices(volume.data.astype(np.float64))), 3)
    body = "".join(
        _figure(image(byte_uri(one, SLICE_PIX), f"central slice {axis}", "grain"), axis)
        for one, axis in zip(slices, AXES, strict=True)
    )
    return Panel(
        "slices", "Slices through the centre", f'<div class="three">{body}</div>',
        "Density is bright. Solvent should be flat and grey, the particle sharp-edged; streaks and "
        "rays through the solvent mean too few views, or a mask that is too tight.", wide=True,
    )  # fmt: skip


def _shown(run: Run) -> tuple[Volume, bool] | None:
    if run.sharpened_map is not None:
        return run.sharpened_map, True
    if len(run.maps) == 1 and run.maps[0] is not None:
        return run.maps[0], False
    return None


def _figure(picture: str, text: str) -> str:
    return f"<figure>{picture}<figcaption>{text}</figcaption></figure>"
