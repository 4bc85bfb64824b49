"""Grids of an iteration on the device, with what is made from them once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import cupy as cp
import numpy as np

from relion_mpi.backend.gpu.launch import BLOCK, Arithmetic, blocks
from relion_mpi.backend.gpu.shifts import Phases, phase_tables
from relion_mpi.backend.limits import coarse_slice_bytes

if TYPE_CHECKING:
    from relion_mpi.backend.gpu.prepare import DeviceGeometry
    from relion_mpi.backend.gpu.project import References
    from relion_mpi.backend.protocol import SearchGrid


class DeviceGrid:
    """A `SearchGrid` on the device; tables and coarse slices are made when first needed.

    Parameters
    ----------
    grid
        On the host.
    arithmetic
        Types.
    tile_bytes
        As many of each half-set's coarse slices are kept for all batches.
    """

    def __init__(self, grid: SearchGrid, arithmetic: Arithmetic, tile_bytes: int) -> None:
        self.host = grid
        self.arithmetic = arithmetic
        self.coarse_direction = cp.asarray(np.ascontiguousarray(grid.coarse_direction))
        self.coarse_psi = cp.asarray(grid.coarse_psi_rad)
        self.fine_direction = cp.asarray(np.ascontiguousarray(grid.fine_direction))
        self.fine_psi = cp.asarray(grid.fine_psi_rad)
        self.n_child_direction = grid.fine_direction.shape[0] // grid.n_dir
        self.n_child_psi = grid.fine_psi_rad.size // grid.n_psi
        self.n_child_shift = grid.fine_shift_pix.shape[0] // grid.n_shift
        self._tile_bytes = tile_bytes
        self._phases: dict[tuple[int, str], Phases] = {}
        self._tiles: dict[tuple[int, int, int], tuple[References, Any, Any]] = {}
        # What one thread's stream has made, another's may use only when it is done.
        self._lock = threading.Lock()

    def coarse_phases(self, geometry: DeviceGeometry) -> Phases:
        """Phases of coarse shifts, for the pixels of the first pass."""
        return self._table(
            geometry, "coarse", self.host.coarse_shift_pix, geometry.host.n_coarse
        )

    def fine_phases(self, geometry: DeviceGeometry) -> Phases:
        """Phases of fine shifts."""
        return self._table(geometry, "fine", self.host.fine_shift_pix, geometry.host.n_pix)

    def _table(self, geometry: DeviceGeometry, name: str, shifts: Any, n_pix: int) -> Phases:
        key = id(geometry.host), name
        with self._lock:
            if key not in self._phases:
                self._phases[key] = phase_tables(shifts, geometry, n_pix, self.arithmetic)
                cp.cuda.get_current_stream().synchronize()
            return self._phases[key]

    def coarse_tile(
        self,
        references: References,
        hypotheses: slice,
        geometry: DeviceGeometry,
        buffers: list[Any],
    ) -> tuple[Any, Any]:
        """Draw coarse slices of hypotheses: slices (n, 2 * n_coarse), power (n, n_coarse).

        The first ones are kept between batches, as many as there is room for; the others are drawn
        into the buffers.
        """
        n_coarse, real = geometry.host.n_coarse, self.arithmetic.real
        first, n = hypotheses.start, hypotheses.stop - hypotheses.start
        if hypotheses.stop * coarse_slice_bytes(n_coarse, real.itemsize) > self._tile_bytes:
            out, power = buffers[0][:n], buffers[1][:n]
            self._slice(references, first, geometry, out, power)
            return out, power
        key = id(references), id(geometry.host), first
        with self._lock:
            if key not in self._tiles:
                out, power = cp.empty((n, 2 * n_coarse), real), cp.empty((n, n_coarse), real)
                self._slice(references, first, geometry, out, power)
                cp.cuda.get_current_stream().synchronize()
                self._tiles[key] = references, out, power
            return self._tiles[key][1:]

    def _slice(
        self,
        references: References,
        first: int,
        geometry: DeviceGeometry,
        out: Any,
        power: Any,
    ) -> None:
        n_coarse = geometry.host.n_coarse
        self.arithmetic.kernel("project", "coarse_slices", planar=references.planar)(
            (blocks(n_coarse), out.shape[0]), (BLOCK,),
            (references.source, np.int64(references.length), np.int32(references.size),
             references.limit, np.float64(references.padding), self.coarse_direction,
             self.coarse_psi, np.int32(self.host.n_psi), np.int32(self.host.n_orient),
             np.int32(first), geometry.slice_x, geometry.slice_y, np.int32(n_coarse), out, power),
        )  # fmt: skip
