"""Kernels that find the directions of a grid near the mates of a rotation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from relion_mpi.sampling.direction_tree import DirectionTree

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]


@numba.njit(cache=True, nogil=True)
def turn_view(prior: Float64Array, i: int, operators: Float64Array, out: Float64Array) -> None:
    """Write the view directions of an image's mates: the third rows of prior @ operator."""
    for m in range(operators.shape[0]):
        for c in range(3):
            out[m, c] = (
                prior[i, 2, 0] * operators[m, 0, c]
                + prior[i, 2, 1] * operators[m, 1, c]
                + prior[i, 2, 2] * operators[m, 2, c]
            )


@numba.njit(cache=True, nogil=True)
def find_pairs(
    mate_views: Float64Array,
    tree: DirectionTree,
    cos_window: float,
    pairs: Int64Array,
    stack: Int64Array,
) -> int:
    """Store direction * n_ops + mate of the pairs in range; return how many there are.

    A number larger than the size of `pairs` says that it was too small.
    """
    found, n_ops = 0, mate_views.shape[0]
    for m in range(n_ops):
        x, y, z = mate_views[m, 0], mate_views[m, 1], mate_views[m, 2]
        top = _push_near(x, y, z, tree, 0, tree.n_root, stack, 0)
        while top > 0:
            top -= 1
            node = stack[top]
            if node < tree.n_inner:
                top = _push_near(x, y, z, tree, tree.begin[node], tree.end[node], stack, top)
                continue
            for d in range(tree.begin[node], tree.end[node]):
                views = tree.views
                if views[d, 0] * x + views[d, 1] * y + views[d, 2] * z > cos_window:
                    if found < pairs.size:
                        pairs[found] = d * n_ops + m
                    found += 1
    return found


@numba.njit(cache=True, nogil=True)
def _push_near(
    x: float,
    y: float,
    z: float,
    tree: DirectionTree,
    begin: int,
    end: int,
    stack: Int64Array,
    top: int,
) -> int:
    """Push the blocks that reach into the window, the last one first; return the new top."""
    for node in range(end - 1, begin - 1, -1):
        centre = tree.centre
        cosine = centre[node, 0] * x + centre[node, 1] * y + centre[node, 2] * z
        if cosine > tree.cos_reach[node]:
            stack[top] = node
            top += 1
    return top


@numba.njit(cache=True, nogil=True)
def nearest_pair(mate_views: Float64Array, views: Float64Array) -> int:
    """Return the pair with the nearest view directions, the first of equals."""
    n_ops = mate_views.shape[0]
    best, nearest = -2.0, 0
    for d in range(views.shape[0]):
        for m in range(n_ops):
            cosine = (
                views[d, 0] * mate_views[m, 0]
                + views[d, 1] * mate_views[m, 1]
                + views[d, 2] * mate_views[m, 2]
            )
            if cosine > best:
                best, nearest = cosine, d * n_ops + m
    return nearest


@numba.njit(cache=True, nogil=True)
def sort_pairs(pairs: Int64Array, n: int, n_ops: int) -> bool:
    """Sort by direction, then mate; tell whether a direction occurs with two mates."""
    for k in range(1, n):
        if pairs[k] < pairs[k - 1]:  # two mates are in range: theirs came one after the other
            pairs[:n].sort()
            break
    for k in range(1, n):
        if pairs[k] // n_ops == pairs[k - 1] // n_ops:
            return True
    return False
