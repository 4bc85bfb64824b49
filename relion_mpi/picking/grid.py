"""Sizes of transforms: the paper's figure 3."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

from relion_mpi.backend.picking import Area, PickingGrid

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

PRIMES = (2, 3, 5, 7)
RING_OUTER = 2.0
"""Outer over inner radius of the background area around a particle."""


def good_size(n: int) -> int:
    """Return the smallest even number from n on whose prime factors are 2, 3, 5 and 7.

    Parameters
    ----------
    n
        At least 1.
    """
    candidate = n + n % 2
    while _rest(candidate) > 1:
        candidate += 2
    return candidate


def make_grid(
    shape: tuple[int, int],
    pixel_size_angst: float,
    *,
    lowpass_angst: float = -1.0,
    highpass_angst: float = -1.0,
    shrink: float = 0.0,
    exact: bool = False,
) -> PickingGrid:
    """Choose the sizes of transforms.

    Parameters
    ----------
    shape
        (y, x) of the micrograph.
    pixel_size_angst
        Angstrom.
    lowpass_angst, highpass_angst
        Angstrom; not positive for none.
    shrink
        As the option.
    exact
        Take the size of the grid of scores as asked for, whatever primes it has.

    Returns
    -------
    PickingGrid
        The micrograph is mirrored at its end up to good sizes. Scores hold all frequencies up to
        the limit, which is lowered where `shrink` leaves no room.
    """
    padded = good_size(shape[0]), good_size(shape[1])
    limit = min(0.5, pixel_size_angst / lowpass_angst) if lowpass_angst > 0 else 0.5
    work = [_work_size(n, limit, shrink, max(padded), exact=exact) for n in padded]
    room = min(w / n for w, n in zip(work, padded, strict=True)) / 2
    if room < limit - 1e-6:
        log.warning(
            "--shrink %g: the grid of scores of %d x %d pixels holds frequencies up to %.1f A; "
            "finer ones are left out", shrink, work[1], work[0], pixel_size_angst / room,
        )  # fmt: skip
    highpass = pixel_size_angst / highpass_angst if highpass_angst > 0 else 0.0
    return PickingGrid(shape, padded, (work[0], work[1]), min(limit, room), highpass)


def ring_transform(grid: PickingGrid, inner_pix: float) -> NDArray[np.float32]:
    """Transform the weights of the background area, a ring around the particle.

    Parameters
    ----------
    grid
        Sizes.
    inner_pix
        Radius of the particle in pixels of the micrograph.

    Returns
    -------
    float32 grid.half
        Real, as the ring is symmetric; 1 at the origin.
    """
    outer = min(RING_OUTER * inner_pix, min(grid.shape) / 2)
    inner = min(inner_pix, outer / RING_OUTER)
    y, x = (np.minimum(np.arange(n), n - np.arange(n)) ** 2 for n in grid.padded)
    radius2 = y[:, None] + x[None, :]
    ring = ((radius2 >= inner**2) & (radius2 < outer**2)).astype(np.float32)
    transform = fft.rfft2(ring / ring.sum(dtype=np.float64), workers=-1)
    return np.ascontiguousarray(transform.real[grid.rows(), : grid.half[1]], np.float32)


def picking_area(grid: PickingGrid, border_pix: float) -> Area:
    """Return the part of the grid of scores that is so far from the micrograph's edges.

    Parameters
    ----------
    grid
        Sizes.
    border_pix
        Pixels of the micrograph.

    Returns
    -------
    Area
        Empty if the micrograph is too small.
    """
    ends = []
    for n, padded, work in zip(grid.shape, grid.padded, grid.work, strict=True):
        first = max(int(np.ceil(border_pix * work / padded)), 1)
        last = min(int(np.floor((n - 1 - border_pix) * work / padded)), work - 2)
        ends += [first, max(last + 1, first)]
    return Area(*ends)


def _work_size(n: int, limit: float, shrink: float, longest: int, *, exact: bool) -> int:
    """Choose one side of the grid of scores, even and at most n."""
    wanted = 2 * int(np.floor(n * limit)) + 2 if limit < 0.5 else n
    if shrink > 1:
        wanted = round(shrink * n / longest)
    elif shrink > 0:
        wanted = round(shrink * n)
    wanted = max(wanted, 8)
    return min(wanted + wanted % 2 if exact else good_size(wanted), n)


def _rest(n: int) -> int:
    """Divide by all small primes."""
    for prime in PRIMES:
        while n % prime == 0:
            n //= prime
    return n
