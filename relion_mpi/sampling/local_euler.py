"""Local searches as RELION lists them: the direction's nearest mate, psi as a number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.geometry.euler import euler_to_matrix
from relion_mpi.sampling.local import LocalSearch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.sampling.orientations import OrientationGrid


def local_orientations_by_euler(
    grid: OrientationGrid,
    prior_euler_deg: NDArray[np.float64],
    sigma_deg: float,
    cutoff: float = 3.0,
) -> LocalSearch:
    """Select coarse orientations near given Euler angles, for comparisons with RELION.

    `relion_mpi.sampling.local.local_orientations` is what refinements use.

    Parameters
    ----------
    grid
        Orientation grid; its perturbation is not applied.
    prior_euler_deg : float64 (n_img, 3) rot, tilt, psi
    sigma_deg
        Standard deviation of the prior, for view direction and psi alike.
    cutoff
        Half-width of the search in standard deviations.

    Returns
    -------
    LocalSearch

    Source
    ------
    RELION selectOrientationsWithNonZeroPriorProbability.
    """
    views = euler_to_matrix(grid.rot_deg, grid.tilt_deg, 0.0)[:, 2]
    centres = euler_to_matrix(*prior_euler_deg.T)[:, 2]
    orient: list[NDArray[np.int64]] = []
    log_prior: list[NDArray[np.float64]] = []
    for centre, psi_deg in zip(centres, prior_euler_deg[:, 2], strict=True):
        cosine = (views @ (centre @ grid.group.operators).T).max(axis=1)
        tilted = np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
        turned = np.abs((grid.psi_deg - psi_deg + 180.0) % 360.0 - 180.0)
        directions, direction_log = _nearby(tilted, sigma_deg, cutoff)
        psis, psi_log = _nearby(turned, sigma_deg, cutoff)
        orient.append((directions[:, None] * grid.n_psi + psis).reshape(-1))
        log_prior.append((direction_log[:, None] + psi_log).reshape(-1))
    offsets = np.cumsum([0, *(one.size for one in orient)])
    return LocalSearch(offsets, _joined(orient, np.int64), _joined(log_prior, np.float64))


def _nearby(
    distance_deg: NDArray[np.float64], sigma_deg: float, cutoff: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the entries in range, or the nearest, and their log priors relative to the mean."""
    kept = np.flatnonzero(distance_deg < cutoff * sigma_deg)
    if not kept.size:
        kept = np.array([int(np.argmin(distance_deg))])
    weight = np.exp(-0.5 * (distance_deg[kept] / sigma_deg) ** 2)
    if not weight.sum() > 0:
        weight = np.ones(kept.size)
    return kept, np.log(weight / weight.mean())


def _joined(parts: list[NDArray[Any]], dtype: type) -> NDArray[Any]:
    return np.concatenate([np.empty(0, dtype), *parts])
