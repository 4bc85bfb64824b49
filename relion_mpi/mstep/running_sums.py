"""Sums of mini-batches that fade: expectation-maximisation that looks at a few particles at a time.

The maximisation is that of all particles; only what it is given are sums in which a mini-batch has
replaced a share of the earlier ones. A step is one along the natural gradient of the likelihood.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.backend.half_plane import plane_shape
from relion_mpi.fourier.half_ball import is_kept, n_kept
from relion_mpi.fourier.shells import padded_size
from relion_mpi.model.statistics import Statistics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Rows = NDArray[np.floating[Any]]

VOLUMES, SIZE = "volumes", "size"


class RunningSums:
    """Sums of one set of particles, of classes that are volumes or images.

    Parameters
    ----------
    padding
        Oversampling of the transforms.
    planar
        Whether references are images.

    Notes
    -----
    Source: Cappe and Moulines, J. R. Stat. Soc. B 71 (2009) 593, equation 8.
    """

    def __init__(self, padding: int, *, planar: bool) -> None:
        self._padding, self._planar = padding, planar
        self._rows: Rows | None = None
        self._size = 0
        self._statistics: dict[str, NDArray[np.float64]] = {}
        self._fresh: tuple[Rows, Statistics] | None = None

    def add(
        self, rows: Rows, statistics: Statistics, r_max: int, replaced: float
    ) -> None:
        """Let the sums of a mini-batch replace a share of the earlier ones.

        Parameters
        ----------
        rows : float (n_class, n_rows, 3)
            Packed volumes of the mini-batch, see `relion_mpi.refine.reduction.unpacked_sums`.
        statistics
            Of the mini-batch.
        r_max
            Last shell of both.
        replaced
            Share, above 0 and at most 1: the earlier sums count that much less. 1 forgets them.

        """
        size, kept = padded_size(r_max, self._padding), 1.0 - replaced
        new = np.array(rows, np.float64)
        if self._rows is not None and kept > 0:
            new += kept * self._resized(self._rows, self._size, size)
        self._rows, self._size, self._fresh = new, size, (rows, statistics)
        for field in fields(Statistics):
            value = np.array(getattr(statistics, field.name))
            before = self._statistics.get(field.name)
            if before is not None and before.shape == value.shape:  # directions may have changed
                value += kept * before
            self._statistics[field.name] = value

    def part(self, donor: int, idle: int) -> None:
        """Give what the last mini-batch added to one class to another one instead.

        The two classes then are averages of different particles, and can grow apart.

        Parameters
        ----------
        donor
            Class with particles in the last mini-batch and before.
        idle
            Class whose sums are lost.
        """
        assert self._rows is not None
        assert self._fresh is not None
        rows, statistics = self._fresh
        self._rows[idle] = rows[donor]
        self._rows[donor] -= rows[donor]
        for name in ("class_weight", "direction_weight"):
            mine, added = self._statistics[name], getattr(statistics, name)
            mine[idle] = added[donor]
            mine[donor] -= added[donor]

    def class_weight(self) -> NDArray[np.float64]:
        """Return the particles of each class, float64 (n_class,)."""
        return self._statistics["class_weight"].copy()

    def fresh_weight(self) -> NDArray[np.float64]:
        """Return those of them that the last mini-batch added, float64 (n_class,)."""
        assert self._fresh is not None
        return self._fresh[1].class_weight

    def copies(self) -> tuple[Rows, Statistics]:
        """Return the sums as `add` takes them, free to be changed."""
        assert self._rows is not None
        return self._rows.copy(), Statistics(**{k: v.copy() for k, v in self._statistics.items()})

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything, by name."""
        if self._rows is None:
            return {}
        found: dict[str, NDArray[Any]] = {VOLUMES: self._rows, SIZE: np.array(self._size)}
        return found | self._statistics

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `arrays` returned."""
        if VOLUMES not in arrays:
            return
        self._rows, self._size = np.array(arrays[VOLUMES]), int(arrays[SIZE])
        self._statistics = {
            field.name: np.array(arrays[field.name]) for field in fields(Statistics)
        }

    def _resized(self, rows: Rows, old: int, new: int) -> Rows:
        """Lay sums out for another last shell; what was not measured is 0."""
        if old == new:
            return rows
        spread = _resized_planes if self._planar else _resized_volume
        return np.stack([spread(one, old, new) for one in rows])


def _overlap(old: int, new: int) -> tuple[slice, slice]:
    """Return where the smaller of two centred odd axes lies in the old one and in the new one."""
    common = min(old, new)
    begins = (old - common) // 2, (new - common) // 2
    return slice(begins[0], begins[0] + common), slice(begins[1], begins[1] + common)


def _resized_planes(rows: Rows, old: int, new: int) -> Rows:
    (from_y, to_y), n_x = _overlap(old, new), min(old, new) // 2 + 1
    out = np.zeros((*plane_shape(new), 3))
    out[to_y, :n_x] = rows.reshape(*plane_shape(old), 3)[from_y, :n_x]
    return out.reshape(-1, 3)


def _resized_volume(rows: Rows, old: int, new: int) -> Rows:
    (theirs, ours), n_x = _overlap(old, new), min(old, new) // 2 + 1
    out = np.empty((n_kept(new), 3))
    for i in range(3):  # one component at a time: the grids are twice what is kept
        whole, grid = np.zeros((old, old, old // 2 + 1)), np.zeros((new, new, new // 2 + 1))
        whole[is_kept(old)] = rows[:, i]
        grid[ours, ours, :n_x] = whole[theirs, theirs, :n_x]
        out[:, i] = grid[is_kept(new)]
    return out
