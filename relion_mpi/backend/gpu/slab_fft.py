"""Real transforms of large cubes in float64, in place and slab by slab.

A cuFFT plan of a whole cube wants work space as large as the cube or larger. Lines along z and
planes of a few slabs need next to none, and planes that nobody looks at are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cupy as cp
import numpy as np

from relion_mpi.backend.gpu.volume_memory import slabs_at_once

if TYPE_CHECKING:
    from collections.abc import Iterable


class SlabTransform:
    """Transforms between half grids and real grids of one side, unnormalised.

    Parameters
    ----------
    side
        Of the cube.
    planes
        Planes at a time: a divisor of the number of planes in every range given.
    """

    def __init__(self, side: int, planes: int) -> None:
        self.side, self.planes = side, planes
        self.half = side // 2 + 1
        self.rows = slabs_at_once(side, side)
        self._plans: dict[int, Any] = {}

    def empty(self) -> Any:
        """Make an uninitialised half grid, complex128 (side, side, side // 2 + 1)."""
        return cp.empty((self.side, self.side, self.half), np.complex128)

    def inverse(self, grid: Any, ranges: Iterable[tuple[int, int]]) -> Any:
        """Invert planes start..stop - 1 of a half grid; the others are left half-way.

        Parameters
        ----------
        grid
            Complex, origin first; used up.
        ranges
            Pairs (start, stop) of planes of the real grid.

        Returns
        -------
        float64 (side, side, 2 * (side // 2 + 1))
            In the same memory; the last one or two columns mean nothing.
        """
        cufft = cp.cuda.cufft
        self._along_z(grid, cufft.CUFFT_INVERSE)
        real = grid.view(np.float64)
        plan = self._plan(cufft.CUFFT_Z2D)
        for start, stop in ranges:
            for z in range(start, stop, self.planes):
                plan.fft(grid[z:], real[z:], cufft.CUFFT_INVERSE)
        return real

    def forward(self, real: Any) -> Any:
        """Transform a whole real grid; returns the complex half grid in the same memory."""
        cufft = cp.cuda.cufft
        grid = real.view(np.complex128)
        plan = self._plan(cufft.CUFFT_D2Z)
        for z in range(0, self.side, self.planes):
            plan.fft(real[z:], grid[z:], cufft.CUFFT_FORWARD)
        self._along_z(grid, cufft.CUFFT_FORWARD)
        return grid

    def _along_z(self, grid: Any, direction: int) -> None:
        plan = self._plan(cp.cuda.cufft.CUFFT_Z2Z)
        for y in range(0, self.side, self.rows):
            lines = grid[:, y:]
            plan.fft(lines, lines, direction)

    def _plan(self, kind: int) -> Any:
        """Make a plan, or return what was made before."""
        if kind not in self._plans:
            cufft, n, half = cp.cuda.cufft, self.side, self.half
            if kind == cufft.CUFFT_Z2Z:
                # Neighbouring lines are neighbours in memory; a step along one is a plane.
                step = n * half
                self._plans[kind] = cufft.PlanNd(
                    (n,), (n,), step, 1, (n,), step, 1, kind, self.rows * half, "C", 0, None
                )
            else:
                layouts = [((n, half), n * half), ((n, 2 * half), 2 * n * half)]
                if kind == cufft.CUFFT_D2Z:
                    layouts.reverse()
                (before, from_), (after, to) = layouts
                self._plans[kind] = cufft.PlanNd(
                    (n, n), before, 1, from_, after, 1, to, kind, self.planes, "C", 1, None
                )
        return self._plans[kind]
