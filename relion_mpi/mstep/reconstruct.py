"""Maps from Fourier sums: regularised division, or iterative gridding."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from relion_mpi.backend.volumes import FourierSums

MIN_SHELL_REGULARISED = 5
"""Shells below this one get no prior (RELION's --minres_map)."""
WEIGHT_FLOOR = 1000.0
"""Weights are not let below the shell's mean divided by this."""
GRIDDING_ITERATIONS = 10
BLOB_RADIUS, BLOB_ALPHA = 3.8, 15.0
BLOB_ENTRIES = 10000
MAP_EDGE_PIX = 3.0


def reconstruct(
    sums: FourierSums,
    tau2: NDArray[np.float64] | None,
    *,
    skip_gridding: bool = True,
    min_shell: int = MIN_SHELL_REGULARISED,
    gridding_iterations: int = GRIDDING_ITERATIONS,
    dtype: DTypeLike = np.float64,
) -> NDArray[Any]:
    """Reconstruct a map.

    Parameters
    ----------
    sums
        Symmetrised data and weights; not changed.
    tau2 : float64 (n_shell,) or None
        Prior variance per shell (RELION's T included); None for no regularisation.
    skip_gridding
        Divide by the weights once (RELION 5's default) instead of iterating.
    min_shell
        First shell that is regularised.
    gridding_iterations
        Number of iterations without skip_gridding.
    dtype
        To which the finished map is rounded.

    Returns
    -------
    dtype (box_size, box_size, box_size)

    Source
    ------
    RELION BackProjector::reconstruct; Scheres 2012, J. Struct. Biol. 180:519.
    """
    backend = sums.backend
    weight = backend.regularised(sums, tau2, min_shell)
    if skip_gridding:
        floor = backend.mean_weight(sums, weight) / WEIGHT_FLOOR
        made = [backend.divide(sums, weight, floor)]
    else:
        made = [backend.grid(sums, weight, blob_table(), gridding_iterations)]
    del weight  # the transform needs its room
    # Not kept here, so that it is gone before the map is there.
    return backend.to_map(made.pop(), sums, MAP_EDGE_PIX, dtype)


@lru_cache(maxsize=1)
def blob_table() -> NDArray[np.float64]:
    """Tabulate the Fourier transform of the Kaiser-Bessel blob, relative to its value at 0."""
    spacing = 0.5 / BLOB_ENTRIES
    w = np.arange(BLOB_ENTRIES) * spacing
    argument = 2 * np.pi * BLOB_RADIUS * w
    sigma = np.sqrt(np.abs(BLOB_ALPHA**2 - argument**2))
    bessel = np.where(argument <= BLOB_ALPHA, special.iv(1.5, sigma), special.jv(1.5, sigma))
    value = bessel / np.maximum(sigma, 1e-12) ** 1.5
    relative: NDArray[np.float64] = value / value[0]
    return relative
