"""Particle picking on a GPU: cuFFT and the kernels of `kernels/picking.cu`.

A batch of angles is three launches: products, inverse transforms, the best so far.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cupy as cp
import cupyx
import numpy as np

from relion_mpi.backend.gpu.compile import kernel
from relion_mpi.backend.gpu.launch import BLOCK, block_for, blocks
from relion_mpi.backend.picking import SMALLEST_VARIANCE, Peaks, ScoreMaps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.backend.picking import Area, Contrast, PickingGrid, Rotations

BATCH_BYTES = 2**26
"""Of products and correlations that are made at a time."""
MOMENT_BLOCKS = 512
FIRST_ROOM = 2**16
"""Local maxima for which there is room at first."""
_OPPOSITE = ({"OPPOSITE": 0}, {"OPPOSITE": 1})


@dataclass(frozen=True, slots=True)
class Templates:
    """As `relion_mpi.backend.cpu.picking.Templates`."""

    planes: Any
    scale: float


@dataclass(frozen=True, slots=True)
class Film:
    """As `relion_mpi.backend.cpu.picking.Film`; mean and deviation are one array (2, y, x)."""

    grid: PickingGrid
    transform: Any
    local: Any


@dataclass(frozen=True, slots=True)
class Scores:
    """As `relion_mpi.backend.picking.ScoreMaps`, on the device."""

    score: Any
    index: Any
    local: Any


@dataclass(frozen=True, slots=True)
class _Tables:
    """What the micrographs of one grid share."""

    ring_on_host: NDArray[np.float32]
    ring: Any
    fy: Any
    fx: Any


class GPUPicking:
    """`relion_mpi.backend.picking.PickingBackend` on the current CUDA device."""

    name = "gpu"

    def __init__(self) -> None:
        self._device = cp.cuda.Device().id
        self._thread = threading.local()
        self._plans: dict[tuple[Any, ...], Any] = {}
        self._tables: dict[PickingGrid, _Tables] = {}

    def host_buffer(self, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Make an uninitialised array in page-locked memory."""
        buffer: NDArray[np.float32] = cupyx.empty_pinned(shape, np.float32)
        return buffer

    def attach(self) -> None:
        """Give the calling thread the device and a stream."""
        if not hasattr(self._thread, "stream"):
            cp.cuda.Device(self._device).use()
            self._thread.stream = cp.cuda.Stream(non_blocking=True)
        self._thread.stream.use()

    def load_templates(
        self, planes: NDArray[np.complex64], box_size: int, padding: int
    ) -> Templates:
        """Take padded half transforms of templates."""
        loaded = Templates(cp.asarray(np.ascontiguousarray(planes)), float(box_size * padding))
        cp.cuda.get_current_stream().synchronize()  # other threads use them on other streams
        return loaded

    def prepare(
        self,
        image: NDArray[np.float32],
        grid: PickingGrid,
        ring: NDArray[np.float32],
        contrast: Contrast,
    ) -> Film:
        """Normalise and transform a micrograph, and find its local mean and deviation."""
        tables = self._tables_of(grid, ring)
        n_y, n_x = grid.padded
        real = self._normalised(image, grid, contrast)
        width = n_x // 2 + 1
        transforms = cp.empty((2, n_y, width), np.complex64)
        self._plan("R2C", grid.padded, 2).fft(real, transforms, cp.cuda.cufft.CUFFT_FORWARD)
        rows, columns = grid.half
        weighed = cp.empty(grid.half, np.complex64)
        spread = cp.empty((2, *grid.half), np.complex64)
        threads = block_for(columns)
        coefficients = np.zeros(8) if contrast.ctf is None else contrast.ctf
        kernel("picking", "crop", _OPPOSITE[0])(
            (blocks(columns, threads), rows), (threads,),
            (transforms, np.int32(n_y), np.int32(width), tables.ring, tables.fy, tables.fx,
             np.int32(rows), np.int32(columns), np.float64(grid.limit), np.float64(grid.highpass),
             np.float64(1.0 / max(grid.padded)), np.float64(contrast.pixel_size_angst),
             cp.asarray(coefficients), np.int32(contrast.ctf is not None),
             np.int32(contrast.intact_until_first_peak), np.float64(1.0 / grid.n_padded), weighed,
             spread),
        )  # fmt: skip
        local = cp.empty((2, *grid.work), np.float32)
        self._plan("C2R", grid.work, 2).fft(spread, local, cp.cuda.cufft.CUFFT_INVERSE)
        n = grid.work[0] * grid.work[1]
        kernel("picking", "deviation", _OPPOSITE[0])(
            (blocks(n),), (BLOCK,), (local, np.int64(n), np.float32(SMALLEST_VARIANCE))
        )
        return Film(grid, weighed, local)

    def search(
        self,
        film: Film,
        templates: Templates,
        rotations: Rotations,
        weight: NDArray[np.float32],
    ) -> Scores:
        """Score every pixel: the best of all templates and angles."""
        grid, n_slice = film.grid, rotations.n_slice
        tables, both = self._tables[grid], 2 if rotations.opposite else 1
        n_batch = batch_size(grid, rotations)
        psi = rotations.radians()
        turn = np.stack([np.cos(psi), np.sin(psi)], axis=1) * templates.scale
        turns = cp.asarray(turn.astype(np.float32))
        product = cp.empty((both * n_batch, *grid.half), np.complex64)
        maps = cp.empty((both * n_batch, *grid.work), np.float32)
        plan = self._plan("C2R", grid.work, both * n_batch)
        score, index = cp.empty(grid.work, np.float32), cp.empty(grid.work, np.int32)
        n, (rows, columns) = grid.work[0] * grid.work[1], grid.half
        threads = block_for(columns)
        multiply = kernel("picking", "multiplied", _OPPOSITE[rotations.opposite])
        keep = kernel("picking", "keep_best", _OPPOSITE[0])
        firsts = [(k, j) for k in range(len(weight)) for j in range(0, n_slice, n_batch)]
        limit = np.float32(grid.limit)
        for number, (k, j) in enumerate(firsts):
            multiply(
                (blocks(columns, threads), rows, n_batch), (threads,),
                (templates.planes[k], np.int32(templates.planes.shape[1]), turns[j:],
                 film.transform, tables.fy, tables.fx, np.int32(rows), np.int32(columns),
                 limit * limit, product),
            )  # fmt: skip
            plan.fft(product, maps, cp.cuda.cufft.CUFFT_INVERSE)
            is_last = number == len(firsts) - 1
            keep(
                (blocks(n),), (BLOCK,),
                (maps, np.int64(n), np.int32(both * n_batch), np.int32(n_batch),
                 np.float32(weight[k]), np.int32(k * rotations.n + j), np.int32(n_slice),
                 np.int32(number == 0), film.local[1] if is_last else np.uintp(0), score, index),
            )  # fmt: skip
        return Scores(score, index, film.local)

    def peaks(self, scores: Scores, area: Area, reach: int) -> Peaks:
        """Return pixels of an area that are above all within `reach` rows and columns."""
        n_y, n_x = scores.score.shape
        area_y, area_x = area.y1 - area.y0, area.x1 - area.x0
        room, n = FIRST_ROOM, 0
        found = cp.empty((0, 9), np.float32)
        while area_y > 0 and area_x > 0:
            count, found = cp.zeros(1, np.int32), cp.empty((room, 9), np.float32)
            kernel("picking", "local_maxima", _OPPOSITE[0])(
                (blocks(area_x), area_y), (BLOCK,),
                (scores.score, scores.index, scores.local[0], scores.local[1], np.int32(n_y),
                 np.int32(n_x), np.int32(area.y0), np.int32(area.x0), np.int32(area.x1),
                 np.int32(reach), np.int32(room), count, found),
            )  # fmt: skip
            n = int(count.get()[0])
            if n <= room:
                break
            room = n
        rows: NDArray[np.float32] = found[:n].get()
        whole = np.ascontiguousarray(rows[:, :2]).view(np.int32)
        y, x = np.divmod(whole[:, 0], np.int32(n_x))
        return Peaks(
            y, x, rows[:, 2].copy(), rows[:, 3:7].copy(), whole[:, 1].copy(), rows[:, 7].copy(),
            rows[:, 8].copy(),
        ).sorted()  # fmt: skip

    def fetch(self, scores: Scores) -> ScoreMaps:
        """Bring everything to the host."""
        local = scores.local.get()
        return ScoreMaps(scores.score.get(), scores.index.get(), local[0], local[1])

    def _normalised(
        self, image: NDArray[np.float32], grid: PickingGrid, contrast: Contrast
    ) -> Any:
        """Return the normalised micrograph and its square, float32 (2, *grid.padded)."""
        stream = cp.cuda.get_current_stream()
        raw = cp.empty(image.shape, np.float32)
        raw.set(image, stream=stream)
        parts = cp.empty((MOMENT_BLOCKS, 2), np.float64)
        scale = cp.empty(2, np.float32)
        n, real = np.int64(image.size), cp.empty((2, *grid.padded), np.float32)
        kernel("picking", "moments", _OPPOSITE[0])((MOMENT_BLOCKS,), (BLOCK,), (raw, n, parts))
        kernel("picking", "join_moments", _OPPOSITE[0])(
            (1,), (BLOCK,),
            (parts, np.int32(MOMENT_BLOCKS), n, np.float64(contrast.sign), scale),
        )  # fmt: skip
        (n_y, n_x), (rows, columns) = grid.shape, grid.padded
        kernel("picking", "mirrored", _OPPOSITE[0])(
            (blocks(columns), rows), (BLOCK,),
            (raw, np.int32(n_y), np.int32(n_x), scale,
             np.float32(contrast.outlier_z or np.inf), np.int32(rows), np.int32(columns), real),
        )  # fmt: skip
        return real

    def _tables_of(self, grid: PickingGrid, ring: NDArray[np.float32]) -> _Tables:
        found = self._tables.get(grid)
        if found is None or found.ring_on_host is not ring:
            fy, fx = grid.frequencies()
            found = _Tables(ring, cp.asarray(ring), cp.asarray(fy), cp.asarray(fx))
            self._tables[grid] = found
        return found

    def _plan(self, kind: str, shape: tuple[int, int], n: int) -> Any:
        """Make a plan of n real transforms, or return what was made before."""
        key = kind, shape, n
        if key not in self._plans:
            cufft = cp.cuda.cufft
            half = shape[0], shape[1] // 2 + 1
            layouts = [(half, half[0] * half[1]), (shape, shape[0] * shape[1])]
            if kind == "R2C":
                layouts.reverse()
            (before, from_), (after, to) = layouts
            self._plans[key] = cufft.PlanNd(
                shape, before, 1, from_, after, 1, to,
                cufft.CUFFT_R2C if kind == "R2C" else cufft.CUFFT_C2R, n, "C", 1, None,
            )  # fmt: skip
        return self._plans[key]


def batch_size(grid: PickingGrid, rotations: Rotations) -> int:
    """Choose how many angles are interpolated at a time: a divisor of all, so that none are left.

    Parameters
    ----------
    grid
        Sizes.
    rotations
        Angles.

    Returns
    -------
    int
        Products and correlations take BATCH_BYTES, or one angle does.
    """
    both = 2 if rotations.opposite else 1
    each = both * (8 * grid.half[0] * grid.half[1] + 4 * grid.work[0] * grid.work[1])
    fit = max(1, min(rotations.n_slice, BATCH_BYTES // each))
    return next(n for n in range(fit, 0, -1) if rotations.n_slice % n == 0)


def create() -> GPUPicking:
    """Make the backend."""
    return GPUPicking()
