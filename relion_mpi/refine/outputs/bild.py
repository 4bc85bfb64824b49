"""A picture of the angular distribution in Chimera's bild format."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.geometry.euler import directions
from relion_mpi.io.atomic import replacing

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from relion_mpi.sampling.orientations import OrientationGrid

_LONGEST = 0.3
"""How much longer than the sphere's radius the largest cylinder reaches."""
_SHORTEST_ANGST = 0.01
_NO_SPREAD = 1e-9
_LINES = ".color %g 0 %g\n.cylinder %g %g %g %g %g %g %g\n"


def write_angdist(
    path: str | os.PathLike[str],
    grid: OrientationGrid,
    pdf_direction: NDArray[np.float64],
    box_angst: float,
) -> None:
    """Draw a cylinder for every direction that has particles, red where there are many.

    Parameters
    ----------
    path
        File to replace.
    grid
        Coarse directions.
    pdf_direction : float64 (n_dir,)
    box_angst
        Side of the box in Angstrom; the sphere fills it.

    Notes
    -----
    Source: RELION healpix_sampling.cpp, writeBildFileOrientationalDistribution.
    """
    text = angdist_text(grid, pdf_direction, box_angst)
    with replacing(path) as temporary:
        temporary.write_text(text)


def angdist_text(
    grid: OrientationGrid, pdf_direction: NDArray[np.float64], box_angst: float
) -> str:
    """Return the lines of the picture; parameters as in `write_angdist`."""
    radius = 0.5 * box_angst
    spread = float(pdf_direction.std())
    # a uniform distribution spreads by rounding only
    spread = spread if spread > _NO_SPREAD * pdf_direction.max() else 1.0
    excess = (pdf_direction - pdf_direction.mean()) / spread
    red = (np.clip(excess, -1.0, 5.0) + 1.0) / 6.0
    stretch = _LONGEST * pdf_direction / max(float(pdf_direction.max()), np.finfo(float).tiny)
    view = radius * directions(grid.rot_deg, grid.tilt_deg)
    drawn = (pdf_direction > 0) & (np.abs(view * stretch[:, None]) > _SHORTEST_ANGST).any(axis=1)
    width = 0.5 * np.pi * radius * grid.step_deg / 360.0
    ends = (view + radius, view * (1.0 + stretch[:, None]) + radius)
    numbers = np.column_stack([red, 1.0 - red, *ends, np.full(red.size, width)])[drawn]
    return (_LINES * len(numbers)) % tuple(numbers.ravel().tolist())
