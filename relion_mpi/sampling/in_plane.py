"""The grid of rotations of 2D references: one view direction, in-plane angles only."""

from __future__ import annotations

import numpy as np

from relion_mpi.core.errors import InputError
from relion_mpi.geometry.symmetry import point_group
from relion_mpi.sampling.orientations import MAX_ORDER, OrientationGrid, in_plane_angles


def make_in_plane_grid(
    psi_step_deg: float, *, oversampling: int = 1, perturbation: float = 0.0
) -> OrientationGrid:
    """Build the grid of rotations of 2D references.

    Parameters
    ----------
    psi_step_deg
        Wanted coarse step; rounded down to a divisor of 360.
    oversampling
        How many times the step is halved in the fine grid.
    perturbation
        Rotation of the grid as a fraction of the coarse step.

    Returns
    -------
    OrientationGrid
        With `planar` set and n_dir = 1.

    Raises
    ------
    InputError
        If the step or the oversampling is out of range.

    Notes
    -----
    Source: RELION healpix_sampling.cpp, setOrientations and getOrientations (2D references).
    """
    if not 0 < psi_step_deg <= 360:
        raise InputError(f"psi step {psi_step_deg:g} degrees must lie in (0, 360]")
    if not 0 <= oversampling <= MAX_ORDER:
        raise InputError(f"oversampling {oversampling} is out of range; use 0 to {MAX_ORDER}")
    psi_deg = in_plane_angles(psi_step_deg)
    return OrientationGrid(
        order=0,
        oversampling=oversampling,
        group=point_group("C1"),
        psi_step_deg=360.0 / len(psi_deg),
        perturbation=float(perturbation),
        healpix_pixel=np.zeros(1, np.int64),
        rot_deg=np.zeros(1),
        tilt_deg=np.zeros(1),
        psi_deg=psi_deg,
        planar=True,
    )
