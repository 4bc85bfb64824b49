"""The whole interface between particle picking and the hardware.

Everything above sees host arrays in the records below and opaque handles (`Templates`, `Film`,
`Scores`) that only the backend that made them understands. A micrograph is one call an operation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from scipy import fft

if TYPE_CHECKING:
    from numpy.typing import NDArray

handle = Any

SMALLEST_VARIANCE = 1e-6
"""Of the local noise; a micrograph has variance 1."""


@dataclass(frozen=True, slots=True)
class PickingGrid:
    """Sizes of the transforms of micrographs of one shape.

    Attributes
    ----------
    shape : (y, x) of the micrograph
    padded : (y, x) that is transformed; more rows and columns mirror the last ones
    work : (y, x) of scores, even; the same extent as `padded`
    limit, highpass : cycles per pixel of the micrograph; frequencies above the first and below the
        second do not count, 0 for no second
    """

    shape: tuple[int, int]
    padded: tuple[int, int]
    work: tuple[int, int]
    limit: float
    highpass: float = 0.0

    @property
    def half(self) -> tuple[int, int]:
        """Shape of the half transform of scores."""
        return self.work[0], self.work[1] // 2 + 1

    @property
    def n_padded(self) -> int:
        """Pixels that are transformed."""
        return self.padded[0] * self.padded[1]

    def frequencies(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return rows and columns of the half transform of scores in cycles per pixel."""
        y = fft.fftfreq(self.work[0]) * (self.work[0] / self.padded[0])
        x = fft.rfftfreq(self.work[1]) * (self.work[1] / self.padded[1])
        return y.astype(np.float32), x.astype(np.float32)

    def rows(self) -> NDArray[np.int64]:
        """Return the row of the padded transform of each row of the half transform of scores."""
        index = np.arange(self.work[0])
        return np.where(index <= self.work[0] // 2, index, index + self.padded[0] - self.work[0])


@dataclass(frozen=True, slots=True)
class Contrast:
    """What is done to a micrograph before it is compared.

    Attributes
    ----------
    sign : -1 where particles are dark
    outlier_z : pixels so many standard deviations from the mean become the mean; 0 for none
    ctf : float64 (8,) of `relion_mpi.optics.ctf.ctf_coefficients`, or None
    intact_until_first_peak : as RELION's option
    """

    sign: float
    outlier_z: float
    ctf: NDArray[np.float64] | None
    intact_until_first_peak: bool
    pixel_size_angst: float


@dataclass(frozen=True, slots=True)
class Rotations:
    """In-plane angles of the templates, psi = k * 360 / n degrees for k = 0 .. n - 1."""

    n: int

    @property
    def opposite(self) -> bool:
        """Whether the second half of the angles is the first, turned by 180 degrees."""
        return self.n % 2 == 0

    @property
    def n_slice(self) -> int:
        """Angles that must be interpolated: the opposite one is the complex conjugate."""
        return self.n // 2 if self.opposite else self.n

    def radians(self) -> NDArray[np.float64]:
        """Return the angles that must be interpolated, float64 (n_slice,)."""
        return np.arange(self.n_slice, dtype=np.float64) * (2.0 * np.pi / self.n)


@dataclass(frozen=True, slots=True)
class Area:
    """Rows and columns of scores that count: y0 <= y < y1, x0 <= x < x1."""

    y0: int
    y1: int
    x0: int
    x1: int


@dataclass(frozen=True, slots=True)
class Peaks:
    """Local maxima of scores, the highest first; equal ones by row, then column.

    Attributes
    ----------
    y, x : int32 (n,) pixels of the grid of scores
    score : float32 (n,)
    around : float32 (n, 4) scores of the neighbours at y - 1, y + 1, x - 1, x + 1
    index : int32 (n,) template * n_psi + angle of the best one
    mean, deviation : float32 (n,) of the local background, where the micrograph has 0 and 1
    """

    y: NDArray[np.int32]
    x: NDArray[np.int32]
    score: NDArray[np.float32]
    around: NDArray[np.float32]
    index: NDArray[np.int32]
    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]

    def sorted(self) -> Peaks:
        """Return them in their order, whatever the order they were found in."""
        order = np.lexsort((self.x, self.y, -self.score))
        return Peaks(
            self.y[order], self.x[order], self.score[order], self.around[order],
            self.index[order], self.mean[order], self.deviation[order],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ScoreMaps:
    """Scores and local background of a whole micrograph, each (y, x) of the grid of scores."""

    score: NDArray[np.float32]
    index: NDArray[np.int32]
    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]


class PickingBackend(Protocol):
    """Operations of particle picking; one thread works at a time, after `attach`."""

    name: str

    def host_buffer(self, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Make an uninitialised host array from which copies to the device are fast."""

    def attach(self) -> None:
        """Make the calling thread ready to work; cheap when it is already."""

    def load_templates(
        self, planes: NDArray[np.complex64], box_size: int, padding: int
    ) -> handle:
        """Take padded half transforms of templates.

        Parameters
        ----------
        planes : complex64 (n, size, size // 2 + 1), y centred, x from 0, of images of mean 0; a
            frequency of f cycles per pixel lies at f * box_size * padding
        box_size, padding
            Side of the images in pixels of the micrograph, and oversampling.
        """

    def prepare(
        self,
        image: NDArray[np.float32],
        grid: PickingGrid,
        ring: NDArray[np.float32],
        contrast: Contrast,
    ) -> handle:
        """Normalise and transform a micrograph, and find its local mean and deviation.

        Parameters
        ----------
        image : float32 (y, x)
        grid
            Sizes.
        ring : float32 grid.half, transform of the background area's weights, whose sum is 1
        contrast
            Sign, outliers, contrast transfer function.
        """

    def search(
        self, film: handle, templates: handle, rotations: Rotations, weight: NDArray[np.float32]
    ) -> handle:
        """Score every pixel: the best of all templates and angles.

        Parameters
        ----------
        film, templates
            Of `prepare` and `load_templates`.
        rotations
            Angles.
        weight : float32 (n_template,)
            Factors of the correlations, one over the templates' norms.

        Returns
        -------
        handle
            Correlation times weight over the local deviation, and which template and angle.
        """

    def peaks(self, scores: handle, area: Area, reach: int) -> Peaks:
        """Return pixels of an area that are above all within `reach` rows and columns.

        Of equal ones the first in memory counts. What is no number is no peak. The area leaves out
        the first and the last row and column; neighbours outside it count.
        """

    def fetch(self, scores: handle) -> ScoreMaps:
        """Bring everything to the host."""
