"""The CUDA backend: cuBLAS and cuFFT through CuPy, hand-written kernels for the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cupy as cp
import cupyx
import numpy as np

from relion_mpi.backend.gpu import accumulate as sums_
from relion_mpi.backend.gpu import coarse, fine
from relion_mpi.backend.gpu import prepare as images_
from relion_mpi.backend.gpu import project as references_
from relion_mpi.backend.gpu.grids import DeviceGrid
from relion_mpi.backend.gpu.launch import ARITHMETIC
from relion_mpi.backend.protocol import HostSums
from relion_mpi.core.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.backend.protocol import (
        BestHypotheses,
        GlobalPrior,
        ImageGeometry,
        ImageMask,
        Likelihood,
        LocalPrior,
        Moments,
        OpticsArrays,
        Quanta,
        SearchGrid,
    )


class GPUBackend:
    """`relion_mpi.backend.protocol.Backend` on the current CUDA device."""

    name = "gpu"

    def __init__(self, precision: str) -> None:
        if precision not in ARITHMETIC:
            msg = f"--precision {precision}: the GPU backend knows {', '.join(ARITHMETIC)}"
            raise InputError(msg)
        self.precision = precision
        self.arithmetic = ARITHMETIC[precision]
        self._geometries: dict[int, images_.DeviceGeometry] = {}
        self._grids: dict[int, DeviceGrid] = {}

    def host_buffer(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Make an uninitialised array in pinned memory."""
        buffer: NDArray[np.float32] = cupyx.empty_pinned(shape, np.float32)
        return buffer

    def load_references(
        self, maps: NDArray[np.floating[Any]], r_max: int, padding: int
    ) -> references_.References:
        """Transform maps (n_class, box, box, box) for slicing out to shell r_max."""
        # A new iteration: what was kept for the last one's grids goes.
        self._geometries.clear()
        self._grids.clear()
        return references_.load(maps, r_max, padding, self.arithmetic)

    def project(
        self,
        references: references_.References,
        matrices: NDArray[np.float64],
        geometry: ImageGeometry,
        class_index: int = 0,
    ) -> NDArray[Any]:
        """Return slices as host complex (n, n_pix)."""
        slices: NDArray[Any] = references_.project(
            references, matrices, geometry, class_index, self.arithmetic
        )
        return slices

    def prepare(
        self,
        images: NDArray[np.float32],
        recentre_pix: NDArray[np.int64],
        factor: NDArray[np.float64],
        mask: ImageMask,
        geometry: ImageGeometry,
        optics: OpticsArrays,
    ) -> images_.Images:
        """Recentre, scale, mask and transform images."""
        return images_.prepare_images(
            images, recentre_pix, factor, mask, self._geometry(geometry), optics, self.arithmetic
        )

    def power_spectra(self, images: images_.Images) -> NDArray[np.float64]:
        """Return the sum of |masked transform|^2 per model shell."""
        power: NDArray[np.float64] = images.power.get()
        return power

    def search_global(
        self,
        images: images_.Images,
        references: references_.References,
        grid: SearchGrid,
        prior: GlobalPrior,
        likelihood: Likelihood,
    ) -> coarse.Candidates:
        """Score every coarse hypothesis and keep the significant ones."""
        inverse = self._inverse_noise(images, likelihood, for_search=True)
        return coarse.search_global(
            images, references, self._grid(grid), prior, likelihood, inverse, self.arithmetic
        )

    def search_local(
        self,
        images: images_.Images,
        references: references_.References,
        grid: SearchGrid,
        prior: LocalPrior,
        likelihood: Likelihood,
    ) -> coarse.Candidates:
        """Score the listed coarse hypotheses and keep the significant ones."""
        inverse = self._inverse_noise(images, likelihood, for_search=True)
        return fine.search_local(
            images, references, self._grid(grid), prior, likelihood, inverse, self.arithmetic
        )

    def search_fine(
        self,
        images: images_.Images,
        references: references_.References,
        grid: SearchGrid,
        candidates: coarse.Candidates,
        likelihood: Likelihood,
    ) -> tuple[fine.Posterior, BestHypotheses]:
        """Score the children of the candidates."""
        inverse = self._inverse_noise(images, likelihood, for_search=True)
        return fine.search_fine(
            images, references, self._grid(grid), candidates, likelihood, inverse, self.arithmetic
        )

    def new_sums(
        self, n_class: int, n_dir: int, r_max: int, padding: int, quanta: Quanta
    ) -> sums_.Sums:
        """Make empty sums for one half-set; atomics add in any order, so no quanta are kept."""
        del quanta
        return sums_.new_sums(n_class, n_dir, r_max, padding, self.arithmetic)

    def accumulate(
        self,
        images: images_.Images,
        references: references_.References,
        grid: SearchGrid,
        posterior: fine.Posterior,
        likelihood: Likelihood,
        sums: sums_.Sums,
    ) -> Moments:
        """Back-project the batch into the sums and return its moments."""
        inverse = self._inverse_noise(images, likelihood, for_search=False)
        return sums_.accumulate(
            images, references, self._grid(grid), posterior, sums, inverse, self.arithmetic
        )

    def fetch_sums(self, sums: sums_.Sums) -> HostSums:
        """Bring sums to the host."""
        volume = cp.ascontiguousarray(sums.volume[..., :3]).get()
        return HostSums(volume, sums.direction_weight.get())

    def _geometry(self, geometry: ImageGeometry) -> images_.DeviceGeometry:
        if id(geometry) not in self._geometries:
            self._geometries[id(geometry)] = images_.DeviceGeometry.of(geometry, self.arithmetic)
        return self._geometries[id(geometry)]

    def _grid(self, grid: SearchGrid) -> DeviceGrid:
        if id(grid) not in self._grids:
            self._grids[id(grid)] = DeviceGrid(grid, self.arithmetic)
        return self._grids[id(grid)]

    def _inverse_noise(
        self, images: images_.Images, likelihood: Likelihood, *, for_search: bool
    ) -> Any:
        """Give 1 / sigma2 per pixel; searches ignore shell 0, and cross-correlation the noise."""
        shell = images.geometry.shell
        if likelihood.metric == "cc" and for_search:
            return cp.ones(shell.size, self.arithmetic.real)
        inverse = 1.0 / cp.asarray(likelihood.sigma2_noise)[shell]
        if for_search:
            inverse[shell == 0] = 0.0
        return inverse.astype(self.arithmetic.real)


def create(precision: str) -> GPUBackend:
    """Make the backend."""
    return GPUBackend(precision)
