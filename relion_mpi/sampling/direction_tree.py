"""Blocks of neighbouring directions, so that a search near one direction skips the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from relion_mpi.geometry.euler import euler_to_matrix

if TYPE_CHECKING:
    from relion_mpi.sampling.orientations import OrientationGrid

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]

# Two HEALPix orders a level: 16 pixels make a block, 16 blocks make a larger one.
ORDERS_A_LEVEL = 2
# Cosines of bounds are lowered by this, far above their rounding.
_SLACK = 1e-12


class DirectionTree(NamedTuple):
    """Directions of a grid in blocks of blocks, with the bound that each block is skipped by.

    NESTED order keeps neighbours together, so a block is a range of directions. Nodes stand level
    by level, the largest blocks first. (A NamedTuple, because kernels take it whole.)

    Attributes
    ----------
    matrices
        float64 (n_dir, 3, 3) unperturbed rotations of the directions at psi 0.
    views
        float64 (n_dir, 3) their third rows.
    n_root, n_inner
        How many nodes have no parent; how many have child nodes (the others have directions).
    begin, end
        int64 (n_node,) range of child nodes, of directions in the last level.
    centre
        float64 (n_node, 3) unit vector in the middle of a block.
    cos_reach
        float64 (n_node,) a direction whose cosine with the centre is smaller has nothing of the
        block within the window.
    """

    matrices: Float64Array
    views: Float64Array
    n_root: int
    n_inner: int
    begin: Int64Array
    end: Int64Array
    centre: Float64Array
    cos_reach: Float64Array


def make_direction_tree(grid: OrientationGrid, window_rad: float) -> DirectionTree:
    """Build the blocks of a grid for a window.

    Parameters
    ----------
    grid
        Orientation grid; its perturbation is not applied.
    window_rad
        Half-width of the search, radians.

    Returns
    -------
    DirectionTree
        Of about n_dir / 15 nodes.
    """
    matrices = euler_to_matrix(grid.rot_deg, grid.tilt_deg, 0.0)
    views = np.ascontiguousarray(matrices[:, 2, :])
    starts = []  # first direction of each block, largest blocks first
    for up in range(grid.order - grid.order % ORDERS_A_LEVEL, 0, -ORDERS_A_LEVEL):
        blocks = grid.healpix_pixel >> (2 * up)
        starts.append(np.flatnonzero(np.diff(blocks, prepend=-1)))
    if not starts:
        starts.append(np.arange(grid.n_dir))
    sizes = [s.size for s in starts]
    below = np.cumsum(sizes)  # number of the first node of the next level
    begin, end = [], []
    for level, mine in enumerate(starts):
        first = mine
        if level + 1 < len(starts):
            first = below[level] + np.searchsorted(starts[level + 1], mine)
        last = below[level + 1] if level + 1 < len(starts) else grid.n_dir
        begin.append(first)
        end.append(np.append(first[1:], last))
    bounds = [_bounds(views, mine, window_rad) for mine in starts]
    return DirectionTree(
        matrices, views, sizes[0], int(below[-1]) - sizes[-1],
        np.concatenate(begin).astype(np.int64), np.concatenate(end).astype(np.int64),
        np.concatenate([centre for centre, _ in bounds]),
        np.concatenate([reach for _, reach in bounds]),
    )  # fmt: skip


def _bounds(
    views: Float64Array, starts: Int64Array, window_rad: float
) -> tuple[Float64Array, Float64Array]:
    """Return the centres of blocks and the cosines of window plus radius."""
    centre = np.add.reduceat(views, starts, axis=0)
    centre /= np.linalg.norm(centre, axis=1, keepdims=True)
    counts = np.diff(np.append(starts, len(views)))
    cosines = np.einsum("dc,dc->d", views, np.repeat(centre, counts, axis=0))
    radius = np.arccos(np.clip(np.minimum.reduceat(cosines, starts), -1.0, 1.0))
    return centre, np.cos(np.minimum(window_rad + radius, np.pi)) - _SLACK
