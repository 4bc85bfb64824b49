"""The CPU backend: BLAS for products, numba for the rest; float32, or float64 as reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.backend.cpu import accumulate, coarse, local, posterior, prepare
from relion_mpi.backend.cpu.distances import distances
from relion_mpi.backend.cpu.heap import give_back
from relion_mpi.backend.cpu.packing import pack
from relion_mpi.backend.cpu.project import References, slices, transform_reference
from relion_mpi.backend.half_plane import n_rows
from relion_mpi.backend.results import HostSums
from relion_mpi.core.errors import InputError
from relion_mpi.fourier.half_ball import row_starts
from relion_mpi.fourier.shells import padded_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.backend.cpu.accumulate import Sums
    from relion_mpi.backend.cpu.candidates import Candidates
    from relion_mpi.backend.cpu.posterior import Posterior
    from relion_mpi.backend.cpu.prepare import Images
    from relion_mpi.backend.limits import Limits
    from relion_mpi.backend.protocol import (
        GlobalPrior,
        ImageGeometry,
        ImageMask,
        Likelihood,
        LocalPrior,
        OpticsArrays,
        Quanta,
        SearchGrid,
    )
    from relion_mpi.backend.results import BestHypotheses, Moments

DTYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
}


class CPUBackend:
    """`relion_mpi.backend.protocol.Backend` on host cores."""

    name = "cpu"

    def __init__(self, precision: str) -> None:
        if precision not in DTYPES:
            msg = f"--precision {precision}: the CPU backend knows {', '.join(DTYPES)}"
            raise InputError(msg)
        self.precision = precision
        self.dtype = DTYPES[precision]

    def host_buffer(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Make an uninitialised array."""
        return np.empty(shape, np.float32)

    def attach(self) -> None:
        """Need nothing."""

    def synchronise(self) -> None:
        """Need nothing: everything here is done when it returns."""

    def forget(self, room_bytes: int = 0, most_bytes: int = 0) -> None:
        """Keep nothing, and let the C library keep nothing."""
        give_back()

    def memory_used(self) -> int:
        """Use no device's memory."""
        return 0

    def load_references(
        self, maps: NDArray[np.floating[Any]], r_max: int, padding: int
    ) -> References:
        """Transform maps (n_class, box, box, box) or (n_class, box, box) for slicing."""
        size = padded_size(r_max, padding)
        n_values = 2 * size ** (maps.ndim - 2) * (size // 2 + 1)
        volumes = np.empty((maps.shape[0], n_values), self.dtype)
        for volume, out in zip(maps, volumes, strict=True):
            transform_reference(volume, r_max, padding, out)
        return References(volumes, size, r_max, padding)

    def no_references(self, r_max: int, padding: int) -> References:
        """Make references of one class that are zero."""
        # Slices are zero beyond the last shell: the smallest ones are zero everywhere.
        return self.load_references(np.zeros((1, 2, 2, 2)), 1, padding)

    def project(
        self,
        references: References,
        matrices: NDArray[np.float64],
        geometry: ImageGeometry,
        class_index: int = 0,
    ) -> NDArray[np.complexfloating[Any, Any]]:
        """Return slices as complex (n, n_pix)."""
        rows = (references.padding * matrices[:, :2].reshape(-1, 6)).astype(self.dtype)
        out = np.empty((rows.shape[0], 2 * geometry.n_pix), self.dtype)
        slices(
            references.volume[class_index],
            references.size,
            references.padding * references.r_max,
            rows,
            geometry.slice_x.astype(self.dtype),
            geometry.slice_y.astype(self.dtype),
            geometry.n_pix,
            out,
        )
        result: NDArray[np.complexfloating[Any, Any]] = (
            out[:, : geometry.n_pix] + self.dtype.type(1) * 1j * out[:, geometry.n_pix :]
        )
        return result

    def slice_distances(
        self,
        references: References,
        first: NDArray[np.float64],
        second: NDArray[np.float64],
        weight: NDArray[np.float64],
        geometry: ImageGeometry,
        class_index: int = 0,
    ) -> NDArray[np.float64]:
        """Compare slices: sums of weight * |P(first) - P(second)|^2 per shell."""
        out = np.empty((*second.shape[:2], geometry.n_shell))
        rows = (
            (references.padding * one[..., :2, :].reshape(*one.shape[:-2], 6)).astype(self.dtype)
            for one in (first, second)
        )
        distances(
            references.volume[class_index],
            references.size,
            references.padding * references.r_max,
            *rows,
            geometry.slice_x.astype(self.dtype),
            geometry.slice_y.astype(self.dtype),
            np.asarray(weight, np.float64),
            np.asarray(geometry.shell, np.int64),
            out,
        )
        return out

    def prepare(
        self,
        images: NDArray[np.floating[Any]],
        recentre_pix: NDArray[np.int64],
        factor: NDArray[np.float64],
        mask: ImageMask,
        geometry: ImageGeometry,
        optics: OpticsArrays,
        remainder_pix: NDArray[np.float64] | None = None,
    ) -> Images:
        """Recentre, scale, mask and transform images."""
        return prepare.prepare_images(
            images, recentre_pix, factor, mask, geometry, optics, self.dtype, remainder_pix
        )

    def power_spectra(self, images: Images) -> NDArray[np.float64]:
        """Return the sum of |masked transform|^2 per model shell."""
        return images.power

    def search_global(
        self,
        images: Images,
        references: References,
        grid: SearchGrid,
        prior: GlobalPrior,
        likelihood: Likelihood,
    ) -> Candidates:
        """Score every coarse hypothesis and keep the significant ones."""
        inverse = self._inverse_noise(images, likelihood, for_search=True)
        return coarse.search_global(images, references, grid, prior, likelihood, inverse)

    def search_local(
        self,
        images: Images,
        references: References,
        grid: SearchGrid,
        prior: LocalPrior,
        likelihood: Likelihood,
    ) -> Candidates:
        """Score the listed coarse hypotheses and keep the significant ones."""
        inverse = self._inverse_noise(images, likelihood, for_search=True)
        return local.search_local(images, references, grid, prior, likelihood, inverse)

    def search_fine(
        self,
        images: Images,
        references: References,
        grid: SearchGrid,
        candidates: Candidates,
        likelihood: Likelihood,
    ) -> tuple[Posterior, BestHypotheses]:
        """Score the children of the candidates."""
        inverse = self._inverse_noise(images, likelihood, for_search=True)
        return posterior.search_fine(images, references, grid, candidates, likelihood, inverse)

    def new_sums(
        self, n_class: int, n_dir: int, r_max: int, padding: int, quanta: Quanta, *,
        planar: bool = False,
    ) -> Sums:  # fmt: skip
        """Make empty sums for one half-set."""
        give_back()  # what making the references left
        return accumulate.new_sums(n_class, n_dir, r_max, padding, quanta, planar=planar)

    def accumulate(
        self,
        images: Images,
        references: References,
        grid: SearchGrid,
        found: Posterior,
        likelihood: Likelihood,
        sums: Sums,
    ) -> Moments:
        """Back-project the batch into the sums and return its moments."""
        inverse = self._inverse_noise(images, likelihood, for_search=False)
        return accumulate.accumulate(images, references, grid, found, sums, inverse)

    def fetch_sums(self, sums: Sums) -> HostSums:
        """Hand over sums, which are none any more: their memory is that of the result."""
        if sums.planar:
            rows = sums.volume.reshape(-1, n_rows(sums.size), 3)
        else:
            rows = pack(sums.volume, sums.size, row_starts(sums.size))
        return HostSums(rows, sums.direction_weight)

    def _inverse_noise(
        self, images: Images, likelihood: Likelihood, *, for_search: bool
    ) -> NDArray[np.floating[Any]]:
        """Give 1 / sigma2 per pixel; searches ignore shell 0, and cross-correlation the noise."""
        shell = images.geometry.shell
        if likelihood.metric == "cc" and for_search:
            return np.ones(shell.size, self.dtype)
        inverse = 1.0 / likelihood.sigma2_noise[shell]
        if for_search:
            inverse[shell == 0] = 0.0
        return inverse.astype(self.dtype)


def create(
    precision: str, limits: Limits | None = None, *, deterministic: bool = False
) -> CPUBackend:
    """Make the backend: small temporary arrays without limits, and exact sums in any case."""
    del limits, deterministic
    return CPUBackend(precision)
