"""Orientations near the known orientation of each image, with their prior."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from relion_mpi.core.errors import InputError
from relion_mpi.geometry.euler import euler_to_matrix
from relion_mpi.geometry.healpix import n_pixels

if TYPE_CHECKING:
    from relion_mpi.sampling.orientations import OrientationGrid

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]
Int32Array = NDArray[np.int32]


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
        float64 (total,) logarithm of the prior of each entry.
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
    both angles, normalised to 1 over the pairs and over the in-plane angles of each pair. If
    nothing is in range the nearest is kept.

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
    """
    if not (sigma_deg > 0 and cutoff > 0):
        raise InputError(
            f"local search needs a positive sigma and cutoff, not {sigma_deg:g} degrees and "
            f"{cutoff:g}"
        )
    prior = np.ascontiguousarray(prior_matrices, np.float64).reshape(-1, 3, 3)
    grid_matrices = _unperturbed_directions(grid)
    views = np.ascontiguousarray(grid_matrices[:, 2, :])
    operators = np.ascontiguousarray(grid.group.operators)
    sigma = math.radians(sigma_deg)
    window = min(cutoff * sigma, math.pi)

    # The share of the sphere within the window, with room for the unevenness of small counts.
    expected = 0.5 * (1.0 - math.cos(window)) * n_pixels(grid.order)
    capacity = int(1.5 * expected) + 16
    while True:
        pair_dir = np.empty((len(prior), capacity), np.int32)
        pair_mate = np.empty((len(prior), capacity), np.int32)
        n_pair = _find_pairs(views, prior, operators, math.cos(window), pair_dir, pair_mate)
        if n_pair.size == 0 or int(n_pair.max()) <= capacity:
            break
        capacity = int(n_pair.max())

    n_psi_max = min(grid.n_psi, int(2.0 * window / math.radians(grid.psi_step_deg)) + 2)
    starts = np.concatenate([[0], np.cumsum(n_pair * n_psi_max)])
    orient = np.empty(starts[-1], np.int64)
    log_prior = np.empty(starts[-1])
    count = _fill_windows(
        grid_matrices, prior, operators, sigma, window, grid.n_psi,
        n_pair, pair_dir, pair_mate, starts, orient, log_prior,
    )  # fmt: skip
    offsets = np.concatenate([[0], np.cumsum(count)])
    packed_orient, packed_log_prior = np.empty(offsets[-1], np.int64), np.empty(offsets[-1])
    _pack(starts, offsets, orient, log_prior, packed_orient, packed_log_prior)
    return LocalSearch(offsets, packed_orient, packed_log_prior)


@lru_cache(maxsize=2)
def _unperturbed_directions(grid: OrientationGrid) -> Float64Array:
    return euler_to_matrix(grid.rot_deg, grid.tilt_deg, 0.0)


@numba.njit(parallel=True, cache=True)
def _find_pairs(
    views: Float64Array,
    prior: Float64Array,
    operators: Float64Array,
    cos_window: float,
    pair_dir: Int32Array,
    pair_mate: Int32Array,
) -> Int64Array:
    """Store the (direction, mate) pairs in range, at least the nearest; return how many there are.

    A number larger than the width of the arrays says that they were too small.
    """
    n_img, capacity, n_ops = prior.shape[0], pair_dir.shape[1], operators.shape[0]
    n_pair = np.empty(n_img, np.int64)
    for i in numba.prange(n_img):
        mate_views = np.empty((n_ops, 3))
        for m in range(n_ops):
            for c in range(3):  # third row of prior @ operator
                mate_views[m, c] = (
                    prior[i, 2, 0] * operators[m, 0, c]
                    + prior[i, 2, 1] * operators[m, 1, c]
                    + prior[i, 2, 2] * operators[m, 2, c]
                )
        found, best, best_dir, best_mate = 0, -2.0, 0, 0
        for d in range(views.shape[0]):
            vx, vy, vz = views[d, 0], views[d, 1], views[d, 2]
            for m in range(n_ops):
                cosine = vx * mate_views[m, 0] + vy * mate_views[m, 1] + vz * mate_views[m, 2]
                if cosine > cos_window:
                    if found < capacity:
                        pair_dir[i, found] = d
                        pair_mate[i, found] = m
                    found += 1
                elif found == 0 and cosine > best:
                    best, best_dir, best_mate = cosine, d, m
        if found == 0:
            pair_dir[i, 0] = best_dir
            pair_mate[i, 0] = best_mate
            found = 1
        n_pair[i] = found
    return n_pair


@numba.njit(cache=True)
def _relative_rotation(
    view_matrix: Float64Array, prior: Float64Array, operator: Float64Array
) -> tuple[float, float]:
    """Return the angle between the view directions and the in-plane angle of closest rotation."""
    mate = prior @ operator
    m = view_matrix @ mate.T
    # The trace of Rz(psi) m is cos(psi) (m00 + m11) + sin(psi) (m10 - m01) + m22: largest at this
    # psi.
    psi = math.atan2(m[1, 0] - m[0, 1], m[0, 0] + m[1, 1])
    # hypot keeps small angles accurate where acos(m22) would not.
    return math.atan2(math.hypot(m[2, 0], m[2, 1]), m[2, 2]), psi


@numba.njit(cache=True)
def _psi_window(psi: float, window: float, n_psi: int) -> tuple[int, int]:
    """Return the first and the number of in-plane angles within the window, at least one."""
    step = 2.0 * math.pi / n_psi
    first = math.floor((psi - window) / step) + 1
    last = math.ceil((psi + window) / step) - 1
    if last < first:
        return round(psi / step), 1
    return first, min(last - first + 1, n_psi)


@numba.njit(parallel=True, cache=True)
def _fill_windows(  # noqa: PLR0913, PLR0917 - a kernel takes its arrays one by one
    grid_matrices: Float64Array,
    prior: Float64Array,
    operators: Float64Array,
    sigma: float,
    window: float,
    n_psi: int,
    n_pair: Int64Array,
    pair_dir: Int32Array,
    pair_mate: Int32Array,
    starts: Int64Array,
    orient: Int64Array,
    log_prior: Float64Array,
) -> Int64Array:
    """Write orientations and log priors of each image from `starts[i]` on; return how many."""
    count = np.empty(prior.shape[0], np.int64)
    inverse = 0.5 / sigma**2
    step = 2.0 * math.pi / n_psi
    for i in numba.prange(prior.shape[0]):
        tilts, psis = np.empty(n_pair[i]), np.empty(n_pair[i])
        for k in range(n_pair[i]):
            tilts[k], psis[k] = _relative_rotation(
                grid_matrices[pair_dir[i, k]], prior[i], operators[pair_mate[i, k]]
            )
        # Relative to the nearest pair, so that a single far pair does not underflow.
        nearest2 = tilts.min() ** 2
        log_sum_dir = math.log(np.exp(-(tilts**2 - nearest2) * inverse).sum())
        end = starts[i]
        same_direction = end
        for k in range(n_pair[i]):
            direction = pair_dir[i, k]
            if k > 0 and direction != pair_dir[i, k - 1]:
                same_direction = end
            first, n = _psi_window(psis[k], window, n_psi)
            nearest_psi2, sum_psi = (step * np.round(psis[k] / step) - psis[k]) ** 2, 0.0
            for j in range(first, first + n):
                sum_psi += math.exp(-((j * step - psis[k]) ** 2 - nearest_psi2) * inverse)
            log_pair = -(tilts[k] ** 2 - nearest2) * inverse - log_sum_dir - math.log(sum_psi)
            before = end
            for j in range(first, first + n):
                index = direction * n_psi + j % n_psi
                value = log_pair - ((j * step - psis[k]) ** 2 - nearest_psi2) * inverse
                # Windows of two mates overlap near symmetry axes only: the closer mate counts.
                at = same_direction
                while at < before and orient[at] != index:
                    at += 1
                if at == before:
                    orient[end] = index
                    log_prior[end] = value
                    end += 1
                elif value > log_prior[at]:
                    log_prior[at] = value
        count[i] = end - starts[i]
    return count


@numba.njit(parallel=True, cache=True)
def _pack(
    starts: Int64Array,
    offsets: Int64Array,
    orient: Int64Array,
    log_prior: Float64Array,
    packed_orient: Int64Array,
    packed_log_prior: Float64Array,
) -> None:
    """Copy the used parts of the scratch arrays together."""
    for i in numba.prange(offsets.shape[0] - 1):
        n = offsets[i + 1] - offsets[i]
        packed_orient[offsets[i] : offsets[i + 1]] = orient[starts[i] : starts[i] + n]
        packed_log_prior[offsets[i] : offsets[i + 1]] = log_prior[starts[i] : starts[i] + n]
