"""Solvent flattening of references."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.fourier.masks import soft_sphere

if TYPE_CHECKING:
    from numpy.typing import NDArray


def spherical_mask(
    box_size: int,
    pixel_size_angst: float,
    particle_diameter_angst: float,
    edge_pix: float,
    *,
    n_dim: int = 3,
) -> NDArray[np.float64]:
    """Make the soft sphere, or circle, used when no mask is given.

    Returns
    -------
    float64 (box_size,) * n_dim
    """
    radius_pix = particle_diameter_angst / (2 * pixel_size_angst)
    return soft_sphere(box_size, radius_pix, edge_pix, n_dim)


def flatten(
    volume: NDArray[np.floating[Any]],
    mask: NDArray[np.float64],
    inner_mask: NDArray[np.float64] | None = None,
    out: NDArray[np.floating[Any]] | None = None,
) -> NDArray[np.floating[Any]]:
    """Set the solvent to zero.

    Parameters
    ----------
    volume : floating (n, n, n)
    mask : float64 (n, n, n), in 0..1
    inner_mask : float64 (n, n, n) or None
        Region whose density is replaced by its mean (RELION's --solvent_mask2).
    out : floating (n, n, n) or None
        Filled and returned; made if left out.

    Source
    ------
    RELION solventFlatten.
    """
    flat: NDArray[np.floating[Any]] = np.multiply(volume, mask, out=out)
    if inner_mask is not None:
        total = inner_mask.sum()
        mean = float((inner_mask * flat).sum() / total) if total > 0 else 0.0
        flat *= 1.0 - inner_mask
        flat += mean * inner_mask
    return flat
