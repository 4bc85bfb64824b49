"""How evenly a set of views covers Fourier space, and what that does to a map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from relion_mpi.geometry import healpix
from relion_mpi.geometry.euler import directions

if TYPE_CHECKING:
    from relion_mpi.geometry.symmetry import PointGroup

Float64Array = NDArray[np.float64]

ORDER = 4
"""HEALPix order of the directions that views are counted in, 3.7 degrees apart."""
SLICE_SINE = 0.06
"""Half the thickness of a slice of Fourier space over its radius: directions that lie so close to a
slice are seen by it."""
WIDTH_ORDER = 3
"""HEALPix order of the directions that the point spread function is measured in: it is smooth."""
RADIUS_STEP, RADIUS_END = 0.02, 12.0


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a distribution of views is worth.

    Attributes
    ----------
    efficiency : E_od, 1 for even coverage, not below 0
    sampling_factor : SCF, 1 for even coverage, 0 where a part of Fourier space is not seen at all
    unseen_share : of the directions of Fourier space that no view sees
    """

    efficiency: float
    sampling_factor: float
    unseen_share: float


def view_counts(
    rot_deg: ArrayLike, tilt_deg: ArrayLike, group: PointGroup, order: int = ORDER
) -> Float64Array:
    """Count views by direction, each at all places that symmetry makes equal.

    Parameters
    ----------
    rot_deg, tilt_deg
        float (n,) degrees.
    group
        Point group of the map.
    order
        HEALPix order of the pixels.

    Returns
    -------
    Float64Array
        float64 (12 * 4**order,), views by NESTED pixel, divided by the order of the group.
    """
    centres = directions(*healpix.pixel_angles(order))
    tree = cKDTree(centres)
    n_pix = len(centres)
    counts = np.bincount(tree.query(directions(rot_deg, tilt_deg))[1], minlength=n_pix)
    seen = np.flatnonzero(counts)
    total = np.zeros(n_pix)
    for operator in group.operators:
        # a view v of the map is the view v R of the map turned by a symmetry R
        total += np.bincount(tree.query(centres[seen] @ operator)[1], counts[seen], n_pix)
    return total / group.n_ops


def sampling(counts: Float64Array) -> Float64Array:
    """Tell how often each direction of Fourier space is seen.

    Parameters
    ----------
    counts
        float64 (n_pix,) from `view_counts`.

    Returns
    -------
    Float64Array
        float64 (n_pix,), mean 1: the share of slices, which are at right angles to their views,
        that pass through each direction.
    """
    order = round(np.log2(len(counts) / 12) / 2)
    centres = directions(*healpix.pixel_angles(order))
    seen = np.flatnonzero(counts)
    total = np.zeros(len(counts))
    for begin in range(0, len(seen), 1024):
        part = seen[begin : begin + 1024]
        total += (np.abs(centres @ centres[part].T) < SLICE_SINE) @ counts[part]
    mean = total.mean()
    return total / mean if mean > 0 else total


def coverage(counts: Float64Array) -> Coverage:
    """Judge a distribution of views.

    Parameters
    ----------
    counts
        float64 (n_pix,) from `view_counts`.

    Returns
    -------
    Coverage

    Source
    ------
    Efficiency: Naydenova and Russo 2017, Nat. Commun. 8, 629: 1 - 2 sigma(R) / mean(R) of the
    widths R of the point spread function in all directions. Here the transfer function is the
    square root of `sampling` times a Gaussian, so that the point spread function is a sum over
    directions and needs no transform; R is where it has fallen to 1/e.
    Sampling compensation factor: Baldwin and Lyumkis 2020, Prog. Biophys. Mol. Biol. 150, 160: the
    reciprocal of the mean reciprocal of `sampling`.
    """
    seen = sampling(counts)
    unseen = float((seen <= 0).mean())
    factor = 0.0 if unseen > 0 else float(1.0 / (1.0 / seen).mean())
    width = psf_widths(np.sqrt(seen))
    # One view alone gives less than nothing, which says no more than nothing does.
    efficiency = max(1.0 - 2.0 * float(width.std() / width.mean()), 0.0)
    return Coverage(efficiency, factor, unseen)


def psf_widths(transfer: Float64Array) -> Float64Array:
    """Measure a point spread function in directions that are spread evenly.

    Parameters
    ----------
    transfer
        float64 (n_pix,), transfer function by direction (NESTED pixels); along the radius it is a
        Gaussian of standard deviation 1.

    Returns
    -------
    Float64Array
        float64 (12 * 4**WIDTH_ORDER,), the radius at which it has fallen to 1/e; the square root of
        2 where the transfer function is even.

    Notes
    -----
    The integral of k^2 exp(-k^2 / 2) cos(k r mu) over k is proportional to (1 - a^2) exp(-a^2 / 2),
    a = r mu.
    """
    order = round(np.log2(len(transfer) / 12) / 2)
    centres = directions(*healpix.pixel_angles(order))
    radius = np.arange(0.0, RADIUS_END, RADIUS_STEP)
    # p depends on |mu| alone: bin the directions by it, then one table serves all radii
    edges = np.linspace(0.0, 1.0, 257)
    mu = (edges[:-1] + edges[1:]) / 2
    a_squared = np.multiply.outer(mu, radius) ** 2
    table = (1.0 - a_squared) * np.exp(-a_squared / 2)
    measured = directions(*healpix.pixel_angles(WIDTH_ORDER))
    width = np.empty(len(measured))
    for i, centre in enumerate(measured):
        bins = np.minimum((np.abs(centres @ centre) * 256).astype(np.int64), 255)
        profile = np.bincount(bins, transfer, 256) @ table
        profile /= profile[0]
        below = int((profile < np.exp(-1.0)).argmax())
        before, after = profile[below - 1], profile[below]
        width[i] = radius[below] - RADIUS_STEP * (np.exp(-1.0) - after) / (before - after)
    return width
