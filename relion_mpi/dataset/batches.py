"""Batches: the units of work that are handed to ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.dataset.particles import Particles


@dataclass(frozen=True, slots=True)
class Batch:
    """Particles of one half-set and one optics group; `index` is its place in the list."""

    index: int
    half: int
    particles: NDArray[np.int64]


def make_batches(particles: Particles, batch_size: int, seed: int) -> list[Batch]:
    """Divide particles into batches that depend on nothing but the particles.

    Parameters
    ----------
    particles
        With `half` set (1, 2), or 0 for all.
    batch_size
        Largest number of particles in a batch; batches of one kind differ by at most one.
    seed
        Of the order of batches, so that the first ones are a fair sample of the data.

    Returns
    -------
    list of Batch
        Every particle once. Rows of a batch are sorted by file and place in it, so that they are
        read in runs. Batches of both halves alternate in proportion to their numbers.

    Raises
    ------
    ValueError
        The batch size is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, expected 1 or more")
    rng = np.random.default_rng(seed)
    keyed: list[tuple[float, int, NDArray[np.int64]]] = []
    for half in np.unique(particles.half).tolist():
        pieces = _pieces(particles, half, batch_size)
        for place, piece in enumerate(rng.permutation(len(pieces))):
            keyed.append(((place + 0.5) / len(pieces), half, pieces[piece]))
    keyed.sort(key=lambda item: item[:2])
    return [Batch(index, half, rows) for index, (_, half, rows) in enumerate(keyed)]


def _pieces(particles: Particles, half: int, batch_size: int) -> list[NDArray[np.int64]]:
    """Cut the rows of one half, group by group, into nearly equal pieces."""
    rows = np.flatnonzero(particles.half == half)
    keys = (particles.image_index[rows], particles.stack_file[rows], particles.optics_group[rows])
    rows = rows[np.lexsort(keys)]
    groups = particles.optics_group[rows]
    pieces: list[NDArray[np.int64]] = []
    for group in np.split(rows, np.flatnonzero(np.diff(groups)) + 1):
        pieces += np.array_split(group, -(-group.size // batch_size))
    return pieces
