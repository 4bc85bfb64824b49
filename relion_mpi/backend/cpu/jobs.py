"""Scores of listed samples: the sparse second pass, and the first pass of local searches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from relion_mpi.backend.cpu.project import FAST, rotation_rows, slice_into, slice_scratch
from relion_mpi.backend.cpu.shifts import phase_table, weighted_shift

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.backend.cpu.candidates import Candidates
    from relion_mpi.backend.cpu.prepare import Images
    from relion_mpi.backend.cpu.project import References
    from relion_mpi.backend.protocol import SearchGrid


@dataclass(frozen=True, slots=True)
class Children:
    """The grid that job lists refer to: each listed sample stands for all its children.

    Attributes
    ----------
    direction : float64 (n_dir * n_direction, 3, 3)
    psi_rad : float64 (n_psi * n_psi_child,)
    shift_pix : float64 (n_shift * n_shift_child, 2)
    n_direction, n_psi_child, n_shift_child : children of one coarse sample
    n_psi : coarse in-plane angles
    n_orient : coarse orientations
    """

    direction: NDArray[np.float64]
    psi_rad: NDArray[np.float64]
    shift_pix: NDArray[np.float64]
    n_direction: int
    n_psi_child: int
    n_shift_child: int
    n_psi: int
    n_orient: int

    @property
    def n_child(self) -> int:
        """Children of one coarse orientation."""
        return self.n_direction * self.n_psi_child


def coarse_children(grid: SearchGrid) -> Children:
    """Make the grid on which every coarse sample stands for itself."""
    return Children(
        grid.coarse_direction, grid.coarse_psi_rad, grid.coarse_shift_pix,
        1, 1, 1, grid.n_psi, grid.n_orient,
    )  # fmt: skip


def fine_children(grid: SearchGrid) -> Children:
    """Make the grid of the second pass."""
    return Children(
        grid.fine_direction,
        grid.fine_psi_rad,
        grid.fine_shift_pix,
        grid.fine_direction.shape[0] // grid.n_dir,
        grid.fine_psi_rad.size // grid.n_psi,
        grid.fine_shift_pix.shape[0] // grid.n_shift,
        grid.n_psi,
        grid.n_orient,
    )


@numba.njit(cache=True)
def child_rows(  # type: ignore[no-untyped-def]
    hypothesis, child, directions, psis, n_direction, n_psi_child, n_psi, n_orient, padding,
    rows,
):  # fmt: skip
    """Write the rotation rows of a child of a coarse hypothesis; psi children run fastest."""
    d, p = divmod(hypothesis % n_orient, n_psi)
    cd, cp = divmod(child, n_psi_child)
    psi = psis[p * n_psi_child + cp]
    rotation_rows(directions[d * n_direction + cd], math.cos(psi), math.sin(psi), padding, rows)


@numba.njit(cache=True, fastmath=FAST)
def dot(a, b, n):  # type: ignore[no-untyped-def]
    """Sum a[k] * b[k] over the leading n elements, in the dtype of a."""
    total = a.dtype.type(0)
    for k in range(n):
        total += a[k] * b[k]
    return total


@numba.njit(cache=True, fastmath=FAST)
def weighted_power(parts, weight, n_pix):  # type: ignore[no-untyped-def]
    """Sum weight * |parts|^2 for parts (2 * n_pix,) as [real | imaginary]."""
    total = parts.dtype.type(0)
    for k in range(n_pix):
        total += weight[k] * (parts[k] * parts[k] + parts[n_pix + k] * parts[n_pix + k])
    return total


@numba.njit(cache=True)
def needed_shifts(shift, first, last, n_shift, n_child):  # type: ignore[no-untyped-def]
    """Give the shifts that pairs first..last use numbers from 0 (others -1), and count them."""
    compact = np.full(n_shift, -1, np.int64)
    n = 0
    for pair in range(first, last):
        if compact[shift[pair]] < 0:
            compact[shift[pair]] = n
            n += 1
    return compact, n * n_child


@numba.njit(cache=True, parallel=True, fastmath=FAST)
def score_jobs(  # type: ignore[no-untyped-def]
    volumes, size, reach, padding, sx, sy, n_pix,
    parts, phases, ctf, inv_sigma2,
    job_offsets, hypothesis, log_prior, shift_offsets, shift, shift_prior,
    directions, psis, n_direction, n_psi_child, n_shift_child, n_psi, n_orient,
    is_cc, scores,
):  # fmt: skip
    """Score every child of every listed pair.

    Parameters
    ----------
    volumes : float (n_class, ...) flat transforms
    parts : float (n_img, 2, >= n_pix) masked images
    phases : float (n_shift * n_shift_child, 2, n_pix)
    ctf : float (n_img, >= n_pix)
    inv_sigma2 : float (>= n_pix,)
    scores : float (n_pair, n_direction * n_psi_child, n_shift_child) output: log weights
    """
    n_child = n_direction * n_psi_child
    for i in numba.prange(parts.shape[0]):
        first, last = job_offsets[i], job_offsets[i + 1]
        if first == last:
            continue
        dtype = parts.dtype
        compact, n_needed = needed_shifts(
            shift, shift_offsets[first], shift_offsets[last], shift_prior.shape[1], n_shift_child
        )
        factor = ctf[i, :n_pix] * inv_sigma2[:n_pix]
        ctf2 = ctf[i, :n_pix] * factor
        shifted = np.empty((n_needed, 2 * n_pix), dtype)
        for t in range(compact.size):
            if compact[t] >= 0:
                for c in range(n_shift_child):
                    row = shifted[compact[t] * n_shift_child + c]
                    weighted_shift(
                        parts[i], phases[t * n_shift_child + c], factor, n_pix,
                        row[:n_pix], row[n_pix:],
                    )  # fmt: skip
        rows64 = np.empty(6)
        rows = np.empty(6, dtype)
        values = np.empty(2 * n_pix, dtype)
        scratch = slice_scratch(parts, n_pix)
        for job in range(first, last):
            volume = volumes[hypothesis[job] // n_orient]
            for child in range(n_child):
                child_rows(
                    hypothesis[job], child, directions, psis, n_direction, n_psi_child, n_psi,
                    n_orient, padding, rows64,
                )  # fmt: skip
                rows[:] = rows64
                slice_into(
                    volume, size, reach, rows, sx, sy, n_pix, values[:n_pix], values[n_pix:],
                    scratch,
                )  # fmt: skip
                power = weighted_power(values, ctf2, n_pix)
                for pair in range(shift_offsets[job], shift_offsets[job + 1]):
                    t = compact[shift[pair]] * n_shift_child
                    prior = log_prior[job] + shift_prior[i, shift[pair]]
                    for c in range(n_shift_child):
                        cross = dot(values, shifted[t + c], 2 * n_pix)
                        if is_cc:
                            score = cross / math.sqrt(power) if power > 0.0 else -1e30
                        else:
                            score = cross - 0.5 * power + prior
                        scores[pair, child, c] = score


def phases_of(children: Children, images: Images, n_pix: int) -> NDArray[np.floating[Any]]:
    """Make the factors that move the leading n_pix pixels by each shift of a grid."""
    x, y = images.geometry.x[:n_pix], images.geometry.y[:n_pix]
    return phase_table(children.shift_pix, x, y, images.geometry.box_size, images.masked.dtype)


def score(
    images: Images,
    references: References,
    candidates: Candidates,
    children: Children,
    inv_sigma2: NDArray[Any],
    phases: NDArray[np.floating[Any]],
    *,
    is_cc: bool,
    first_image: int = 0,
) -> NDArray[np.floating[Any]]:
    """Score the children of the candidates with the pixels of a table of phases.

    Parameters
    ----------
    candidates
        Of consecutive images from first_image on.
    phases
        From `phases_of`.

    Returns
    -------
    float (n_pair, n_child, n_shift_child)
        Log weights; kept in the images' dtype.
    """
    geometry, dtype, n_pix = images.geometry, images.masked.dtype, phases.shape[2]
    mine = slice(first_image, first_image + candidates.n_significant.size)
    scores = np.empty((candidates.shift.size, children.n_child, children.n_shift_child), dtype)
    score_jobs(
        references.volume, references.size, references.padding * references.r_max,
        references.padding, geometry.slice_x.astype(dtype), geometry.slice_y.astype(dtype), n_pix,
        images.masked[mine], phases, images.reference_ctf[mine], inv_sigma2,
        candidates.job_offsets, candidates.hypothesis, candidates.log_prior,
        candidates.shift_offsets, candidates.shift, candidates.shift_prior,
        children.direction, children.psi_rad, children.n_direction, children.n_psi_child,
        children.n_shift_child, children.n_psi, children.n_orient, is_cc, scores,
    )  # fmt: skip
    return scores
