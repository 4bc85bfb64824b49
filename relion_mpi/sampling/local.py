"""Orientations near the known orientation of each image, with their prior."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from relion_mpi.core.errors import InputError
from relion_mpi.geometry.healpix import n_pixels
from relion_mpi.sampling.direction_tree import DirectionTree, make_direction_tree
from relion_mpi.sampling.near_pairs import find_pairs, nearest_pair, sort_pairs, turn_view
from relion_mpi.sampling.pair_weights import PriorShape, psi_window, weigh_pairs

if TYPE_CHECKING:
    from relion_mpi.sampling.orientations import OrientationGrid

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class LocalSearch:
    """Coarse orientations to search for each image: a ragged list.

    Attributes
    ----------
    offsets
        int64 (n_img + 1,): image i owns entries `offsets[i]` to `offsets[i + 1]`.
    orient
        int64 (total,) coarse orientation indices, grouped by direction, no index twice in an image.
    log_prior
        float64 (total,) logarithm of the prior of each entry, relative to the image's mean prior
        (the normalisation of RELION's scores).
    """

    offsets: Int64Array
    orient: Int64Array
    log_prior: Float64Array

    @property
    def n_img(self) -> int:
        """Number of images."""
        return len(self.offsets) - 1


def local_orientations(
    grid: OrientationGrid, prior_matrices: ArrayLike, sigma_deg: float, cutoff: float = 3.0
) -> LocalSearch:
    """Select the coarse orientations near the prior orientation of each image.

    A pair of a grid direction and a symmetry mate of the prior orientation is kept if their view
    directions are less than `cutoff` sigma apart. Its in-plane angles are those less than `cutoff`
    sigma from the angle at which the grid's rotation is closest to the mate. Priors are Gaussian in
    both angles; before they are divided by their mean over an image's entries, they sum to 1 over
    the pairs and over the in-plane angles of each pair. If nothing is in range the nearest is kept.

    Parameters
    ----------
    grid
        Orientation grid; its perturbation is not applied.
    prior_matrices
        float64 (n_img, 3, 3) rotations of the images, as found in the last iteration.
    sigma_deg
        Standard deviation of the prior, degrees, for view direction and in-plane angle alike.
    cutoff
        Half-width of the search in standard deviations.

    Returns
    -------
    LocalSearch
        Orientations and log priors.

    Raises
    ------
    InputError
        If sigma or cutoff is not positive.

    Notes
    -----
    Source: RELION healpix_sampling.cpp, selectOrientationsWithNonZeroPriorProbability. Differs on
    purpose: RELION compares psi as a number, so it searches the wrong in-plane angles where rot is
    ill-defined (tilt near 0 and 180) and across the seams of the asymmetric unit. Here the window
    follows the rotation itself.

    The work goes with the number of orientations found. It is done in the calling thread, without
    Python's lock, so that other threads go on.
    """
    if not (sigma_deg > 0 and cutoff > 0):
        raise InputError(
            f"local search needs a positive sigma and cutoff, not {sigma_deg:g} degrees and "
            f"{cutoff:g}"
        )
    prior = np.ascontiguousarray(prior_matrices, np.float64).reshape(-1, 3, 3)
    operators = np.ascontiguousarray(grid.group.operators, np.float64)
    sigma = math.radians(sigma_deg)
    window = min(cutoff * sigma, math.pi)
    inverse, step = 0.5 / sigma**2, 2.0 * math.pi / grid.n_psi
    fall = math.exp(-2.0 * step * step * inverse)
    shape = PriorShape(inverse, window, math.cos(window), grid.n_psi, step, fall)
    # The share of the sphere within the window times in-plane angles, with some room.
    n_near = 0.5 * (1.0 - shape.cos_window) * n_pixels(grid.order)
    n_turn = min(grid.n_psi, window / math.pi * grid.n_psi + 1.0)
    capacity = int(1.1 * len(prior) * (n_near + 1.0) * n_turn) + 16
    offsets, orient, log_prior = _list(prior, operators, _tree(grid, window), shape, capacity)
    return LocalSearch(offsets, orient[: offsets[-1]], log_prior[: offsets[-1]])


@lru_cache(maxsize=2)
def _tree(grid: OrientationGrid, window_rad: float) -> DirectionTree:
    return make_direction_tree(grid, window_rad)


@numba.njit(cache=True, nogil=True)
def _list(
    prior: Float64Array,
    operators: Float64Array,
    tree: DirectionTree,
    shape: PriorShape,
    capacity: int,
) -> tuple[Int64Array, Int64Array, Float64Array]:
    """Return offsets, orientations and log priors, the last two with unused ends.

    `capacity` is the number of entries to expect.
    """
    n_img, n_ops = prior.shape[0], operators.shape[0]
    offsets = np.zeros(n_img + 1, np.int64)
    orient, log_prior = np.empty(capacity, np.int64), np.empty(capacity)
    mate_views = np.empty((n_ops, 3))
    pairs, stack = np.empty(256, np.int64), np.empty(tree.begin.size, np.int64)
    terms = np.empty((3, pairs.size))
    for i in range(n_img):
        turn_view(prior, i, operators, mate_views)
        n = find_pairs(mate_views, tree, shape.cos_window, pairs, stack)
        if n > pairs.size:
            pairs, terms = np.empty(2 * n, np.int64), np.empty((3, 2 * n))
            n = find_pairs(mate_views, tree, shape.cos_window, pairs, stack)
        if n == 0:
            pairs[0], n = nearest_pair(mate_views, tree.views), 1
        repeats = sort_pairs(pairs, n, n_ops)
        count = weigh_pairs(prior, i, operators, tree.matrices, pairs, n, shape, terms)
        start = offsets[i]
        if start + count > orient.size:
            more = max(count, orient.size)
            orient, log_prior = _longer(orient, more), _longer(log_prior, more)
        if repeats:
            count = _write_merged(pairs, n, n_ops, shape, terms, start, orient, log_prior)
        else:
            _write(pairs, n, n_ops, shape, terms, math.log(count), start, orient, log_prior)
        offsets[i + 1] = start + count
    return offsets, orient, log_prior


@numba.njit(cache=True, nogil=True)
def _longer(array: NDArray[Any], more: int) -> NDArray[Any]:
    """Copy an array into one with room for more entries."""
    out = np.empty(array.size + more, array.dtype)
    out[: array.size] = array
    return out


@numba.njit(cache=True, nogil=True)
def _write(  # noqa: PLR0913, PLR0917 - a kernel takes its arrays one by one
    pairs: Int64Array,
    n: int,
    n_ops: int,
    shape: PriorShape,
    terms: Float64Array,
    log_count: float,
    end: int,
    orient: Int64Array,
    log_prior: Float64Array,
) -> None:
    """Write the entries of an image whose pairs are all of different directions, from `end` on."""
    step = shape.step
    for k in range(n):
        psi, base = terms[1, k], pairs[k] // n_ops * shape.n_psi
        first, n_turn = psi_window(psi, shape)
        nearest2 = (round(psi / step) * step - psi) ** 2
        log_pair = terms[0, k] + log_count + nearest2 * shape.inverse
        turn = first % shape.n_psi
        for j in range(first, first + n_turn):
            orient[end] = base + turn
            log_prior[end] = log_pair - (j * step - psi) ** 2 * shape.inverse
            end += 1
            turn = turn + 1 if turn + 1 < shape.n_psi else 0


@numba.njit(cache=True, nogil=True)
def _write_merged(
    pairs: Int64Array,
    n: int,
    n_ops: int,
    shape: PriorShape,
    terms: Float64Array,
    start: int,
    orient: Int64Array,
    log_prior: Float64Array,
) -> int:
    """Write the entries of an image from `start` on, each orientation once; return how many.

    Windows of two mates overlap near symmetry axes only: the closer mate counts.
    """
    end, same_direction = start, start
    for k in range(n):
        if k > 0 and pairs[k] // n_ops != pairs[k - 1] // n_ops:
            same_direction = end
        before = end
        _write(pairs[k:], 1, n_ops, shape, terms[:, k:], 0.0, end, orient, log_prior)
        for entry in range(end, end + psi_window(terms[1, k], shape)[1]):
            at = same_direction
            while at < before and orient[at] != orient[entry]:
                at += 1
            if at == before:
                orient[end], log_prior[end] = orient[entry], log_prior[entry]
                end += 1
            else:
                log_prior[at] = max(log_prior[at], log_prior[entry])
    total = 0.0
    for entry in range(start, end):
        total += math.exp(log_prior[entry])
    log_mean = math.log(total / (end - start))
    for entry in range(start, end):
        log_prior[entry] -= log_mean
    return end - start
