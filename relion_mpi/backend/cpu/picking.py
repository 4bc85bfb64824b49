"""Particle picking on CPUs: the specification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numba
import numpy as np
from scipy import fft

from relion_mpi.backend.cpu.picking_kernels import (
    cropped,
    keep_best,
    local_maxima,
    mirrored,
    moments,
    multiplied,
    over_deviation,
    weighed,
)  # fmt: skip
from relion_mpi.backend.picking import SMALLEST_VARIANCE, Peaks, ScoreMaps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.backend.picking import Area, Contrast, PickingGrid, Rotations

BATCH_BYTES = 2**23
"""Of the correlations that are made at a time; more do not stay in the processor's cache."""
NO_CTF = np.zeros(8)


@dataclass(frozen=True, slots=True)
class Templates:
    """Padded half transforms; see `relion_mpi.backend.picking.PickingBackend.load_templates`."""

    planes: NDArray[np.complex64]
    scale: float


@dataclass(frozen=True, slots=True)
class Film:
    """A prepared micrograph.

    Attributes
    ----------
    grid : sizes
    transform : complex64 grid.half, times filters and CTF, over the pixels that were transformed
    mean, deviation : float32 grid.work
    """

    grid: PickingGrid
    transform: NDArray[np.complex64]
    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]


class CPUPicking:
    """`relion_mpi.backend.picking.PickingBackend` with scipy's transforms and numba."""

    name = "cpu"

    def host_buffer(self, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Make an uninitialised array."""
        return np.empty(shape, np.float32)

    def attach(self) -> None:
        """Need nothing."""

    def load_templates(
        self, planes: NDArray[np.complex64], box_size: int, padding: int
    ) -> Templates:
        """Take padded half transforms of templates."""
        return Templates(np.ascontiguousarray(planes), float(box_size * padding))

    def prepare(
        self,
        image: NDArray[np.float32],
        grid: PickingGrid,
        ring: NDArray[np.float32],
        contrast: Contrast,
    ) -> Film:
        """Normalise and transform a micrograph, and find its local mean and deviation."""
        total, squares = moments(image)
        mean = total / image.size
        deviation = np.sqrt(max(squares / image.size - mean**2, 0.0)) or 1.0
        real = np.empty(grid.padded, np.float32)
        mirrored(
            image, np.float32(mean), np.float32(contrast.sign / deviation),
            np.float32(contrast.outlier_z or np.inf), real,
        )  # fmt: skip
        workers, rows = numba.get_num_threads(), grid.rows()
        transform = cropped(fft.rfft2(real, workers=workers), rows, grid.half[1])
        np.square(real, out=real)
        squared = cropped(fft.rfft2(real, workers=workers), rows, grid.half[1])
        del real
        local = [
            fft.irfft2(one * (ring / np.float32(grid.n_padded)), s=grid.work, norm="forward",
                       workers=workers)
            for one in (transform, squared)
        ]  # fmt: skip
        spread = np.sqrt(np.maximum(local[1] - local[0] ** 2, np.float32(SMALLEST_VARIANCE)))
        fy, fx = grid.frequencies()
        coefficients = NO_CTF if contrast.ctf is None else contrast.ctf
        weighed(
            transform, fy, fx, grid.limit, grid.highpass, edge_of(grid), contrast.pixel_size_angst,
            coefficients, contrast.ctf is not None, contrast.intact_until_first_peak,
            1.0 / grid.n_padded,
        )  # fmt: skip
        return Film(grid, transform, local[0], spread)

    def search(
        self,
        film: Film,
        templates: Templates,
        rotations: Rotations,
        weight: NDArray[np.float32],
    ) -> ScoreMaps:
        """Score every pixel: the best of all templates and angles."""
        grid, both = film.grid, 2 if rotations.opposite else 1
        fy, fx = grid.frequencies()
        psi = rotations.radians()
        turn = np.stack([np.cos(psi), np.sin(psi)], axis=1) * templates.scale
        n_batch = max(BATCH_BYTES // (8 * both * grid.half[0] * grid.half[1]), 1)
        product = np.empty((both * min(n_batch, len(psi)), *grid.half), np.complex64)
        score = np.full(grid.work, -np.inf, np.float32)
        index = np.zeros(grid.work, np.int32)
        for k, plane in enumerate(templates.planes):
            for first in range(0, len(psi), n_batch):
                rows = turn[first : first + n_batch].astype(np.float32)
                part = product[: both * len(rows)]
                multiplied(plane, rows, film.transform, fy, fx, np.float32(grid.limit), part)
                found = fft.irfft2(
                    part, s=grid.work, norm="forward", workers=numba.get_num_threads(),
                    overwrite_x=True,
                )  # fmt: skip
                start = k * rotations.n + first
                keep_best(found, weight[k], start, len(rows), len(psi), score, index)
        over_deviation(score, film.deviation)
        return ScoreMaps(score, index, film.mean, film.deviation)

    def peaks(self, scores: ScoreMaps, area: Area, reach: int) -> Peaks:
        """Return pixels of an area that are above all within `reach` rows and columns."""
        y, x = local_maxima(scores.score, area.y0, area.y1, area.x0, area.x1, reach)
        score = scores.score
        around = np.stack([score[y - 1, x], score[y + 1, x], score[y, x - 1], score[y, x + 1]], 1)
        return Peaks(
            y, x, score[y, x], around, scores.index[y, x], scores.mean[y, x],
            scores.deviation[y, x],
        ).sorted()  # fmt: skip

    def fetch(self, scores: ScoreMaps) -> ScoreMaps:
        """Return them as they are."""
        return scores


def edge_of(grid: PickingGrid) -> float:
    """Half the width of the high-pass's edge in cycles per pixel: one shell."""
    return 1.0 / max(grid.padded)


def create() -> CPUPicking:
    """Make the backend."""
    return CPUPicking()
