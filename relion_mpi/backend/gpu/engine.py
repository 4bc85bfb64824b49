"""The CUDA backend: cuBLAS and cuFFT through CuPy, hand-written kernels for the rest.

Several threads may each work on a batch: each has a stream and temporary arrays of its own, so that
the GPU is busy with one batch while another one's results are looked at on the host.
"""

from __future__ import annotations

import threading
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import cupy as cp
import cupyx
import numpy as np

from relion_mpi.backend.gpu import accumulate as sums_
from relion_mpi.backend.gpu import coarse, fine, plan_cache
from relion_mpi.backend.gpu import prepare as images_
from relion_mpi.backend.gpu import project as references_
from relion_mpi.backend.gpu.device import CONTEXT_BYTES, RESERVE_BYTES
from relion_mpi.backend.gpu.grids import DeviceGrid
from relion_mpi.backend.gpu.launch import ARITHMETIC, arithmetic_of
from relion_mpi.backend.gpu.scratch import Scratch
from relion_mpi.backend.limits import Limits
from relion_mpi.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

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
    from relion_mpi.backend.results import BestHypotheses, HostSums, Moments


PLANS = 2
"""Plans of transforms that a thread keeps: batches of one kind differ by at most one image."""
LARGE_CUBE = 2**25
"""Voxels of a padded map above which what made its transform is given back at once."""


class GPUBackend:
    """`relion_mpi.backend.protocol.Backend` on the device that is current when it is made.

    Parameters
    ----------
    precision
        A key of `relion_mpi.backend.gpu.launch.ARITHMETIC`.
    limits
        Of the temporary arrays of each thread.
    deterministic
        Sums are exact, whatever their order, and nothing depends on the memory that is free.
    """

    name = "gpu"

    def __init__(
        self, precision: str, limits: Limits | None = None, *, deterministic: bool = False
    ) -> None:
        if precision not in ARITHMETIC:
            msg = f"--precision {precision}: the GPU backend knows {', '.join(ARITHMETIC)}"
            raise InputError(msg)
        self.precision = precision
        self.deterministic = deterministic
        self.arithmetic = arithmetic_of(precision, exact=deterministic)
        self.limits = limits or Limits()
        self._device = int(cp.cuda.Device().id)
        self._thread = threading.local()
        self._lock = threading.Lock()
        self._geometries: dict[int, images_.DeviceGeometry] = {}
        self._grids: dict[int, DeviceGrid] = {}
        self._noise: dict[tuple[int, bytes, bool, bool], Any] = {}
        self._scratches: list[Scratch] = []
        self._loaded: list[weakref.ref[references_.References]] = []
        self._most_used = 0

    def attach(self) -> None:
        """Give the calling thread the device, a stream and temporary arrays."""
        if not hasattr(self._thread, "stream"):
            cp.cuda.Device(self._device).use()
            self._thread.stream = cp.cuda.Stream(non_blocking=True)
            self._thread.scratch = Scratch(self.limits)
            self._thread.last_grid = None
            plan_cache.limit(PLANS)
            with self._lock:
                self._scratches.append(self._thread.scratch)
        self._thread.stream.use()

    def synchronise(self) -> None:
        """Wait for everything that was begun on the device."""
        cp.cuda.Device(self._device).synchronize()

    def host_buffer(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Make an uninitialised array in pinned memory."""
        buffer: NDArray[np.float32] = cupyx.empty_pinned(shape, np.float32)
        return buffer

    def load_references(
        self, maps: NDArray[np.floating[Any]], r_max: int, padding: int
    ) -> references_.References:
        """Transform maps (n_class, box, box, box) or (n_class, box, box) for slicing."""
        self.forget()
        loaded = references_.load(maps, r_max, padding, self.arithmetic)
        self._loaded.append(weakref.ref(loaded))
        self.memory_used()
        if (padding * maps.shape[-1]) ** (maps.ndim - 1) > LARGE_CUBE:
            # What was needed to make them belongs to this thread's stream: others cannot use it.
            self._free()
        return loaded

    def no_references(self, r_max: int, padding: int) -> references_.References:
        """Make references of one class that are zero."""
        made = references_.zeros(r_max, padding, self.arithmetic)
        self._loaded.append(weakref.ref(made))
        self.memory_used()
        return made

    def forget(self, room_bytes: int = 0, most_bytes: int = 0) -> None:
        """Drop what was kept for an iteration; its references and sums are the caller's.

        What is not in use stays unless it is too much: when images grow, arrays of the size before
        lie beside the new ones, but to give memory back and take it again costs a tenth of a
        second and more.
        """
        self._geometries.clear()
        self._grids.clear()
        self._noise.clear()
        if room_bytes and cp.cuda.runtime.memGetInfo()[0] < room_bytes + RESERVE_BYTES:
            for scratch in self._scratches:
                scratch.clear()
            self._free()
        elif most_bytes and self._held() > most_bytes:
            self._free()

    def _free(self) -> None:
        """Return unused memory to the device; no thread may be working."""
        self.synchronise()
        plan_cache.clear()
        cp.get_default_memory_pool().free_all_blocks()

    def memory_used(self) -> int:
        """Return the most bytes held so far: CuPy's pool, textures, and what no array holds."""
        self._most_used = max(self._most_used, self._held())
        return self._most_used

    def _held(self) -> int:
        self._loaded = [one for one in self._loaded if one() is not None]
        found = [one() for one in self._loaded]
        textures = sum(one.texture_bytes for one in found if one is not None)
        return int(cp.get_default_memory_pool().total_bytes()) + textures + CONTEXT_BYTES

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

    def slice_distances(
        self,
        references: references_.References,
        first: NDArray[np.float64],
        second: NDArray[np.float64],
        weight: NDArray[np.float64],
        geometry: ImageGeometry,
        class_index: int = 0,
    ) -> NDArray[np.float64]:
        """Compare slices: sums of weight * |P(first) - P(second)|^2 per shell."""
        sums: NDArray[np.float64] = references_.slice_distances(
            references, first, second, weight, self._geometry(geometry), class_index,
            self.arithmetic,
        )  # fmt: skip
        return sums

    def prepare(
        self,
        images: NDArray[np.floating[Any]],
        recentre_pix: NDArray[np.int64],
        factor: NDArray[np.float64],
        mask: ImageMask,
        geometry: ImageGeometry,
        optics: OpticsArrays,
        remainder_pix: NDArray[np.float64] | None = None,
    ) -> images_.Images:
        """Recentre, scale, mask and transform images."""
        with self._batch_kept_whole():
            return images_.prepare_images(
                images, recentre_pix, factor, mask, self._geometry(geometry), optics,
                self.arithmetic, remainder_pix,
            )  # fmt: skip

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
        with self._batch_kept_whole():
            return coarse.search_global(
                images, references, self._grid(grid), prior, likelihood, inverse,
                self._scratch(), self.limits,
            )  # fmt: skip

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
        with self._batch_kept_whole():
            return fine.search_local(
                images, references, self._grid(grid), prior, likelihood, inverse,
                self._scratch(), self.limits,
            )  # fmt: skip

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
        with self._batch_kept_whole():
            return fine.search_fine(
                images, references, self._grid(grid), candidates, likelihood, inverse,
                self._scratch(), self.limits,
            )  # fmt: skip

    def new_sums(
        self, n_class: int, n_dir: int, r_max: int, padding: int, quanta: Quanta, *,
        planar: bool = False,
    ) -> sums_.Sums:  # fmt: skip
        """Make empty sums for one half-set; only exact ones are rounded to quanta."""
        return sums_.new_sums(
            n_class, n_dir, r_max, padding, quanta, self.arithmetic, planar=planar
        )

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
        with self._batch_kept_whole():
            return sums_.accumulate(
                images, references, self._grid(grid), posterior, sums, inverse, self._scratch(),
                self.limits,
            )  # fmt: skip

    def fetch_sums(self, sums: sums_.Sums) -> HostSums:
        """Bring sums to the host."""
        return sums_.fetched(sums, self.arithmetic)

    @contextmanager
    def _batch_kept_whole(self) -> Iterator[None]:
        """Refuse to go on where a full device would have a deterministic run's batch halved."""
        try:
            yield
        except cp.cuda.memory.OutOfMemoryError as error:
            if not self.arithmetic.exact:
                raise
            msg = (
                f"--deterministic: the GPU's memory is full ({error}), and a batch done in halves "
                "would change the last digits; free memory of the GPU or start fewer ranks on it, "
                "then --continue, or leave --deterministic out"
            )
            raise InputError(msg) from error

    def _scratch(self) -> Scratch:
        if not hasattr(self._thread, "scratch"):
            self.attach()
        scratch: Scratch = self._thread.scratch
        scratch.reserve()  # all of it at once; threads that do not search have none
        return scratch

    def _geometry(self, geometry: ImageGeometry) -> images_.DeviceGeometry:
        with self._lock:
            if id(geometry) not in self._geometries:
                made = images_.DeviceGeometry.of(geometry, self.arithmetic)
                cp.cuda.get_current_stream().synchronize()
                self._geometries[id(geometry)] = made
            return self._geometries[id(geometry)]

    def _grid(self, grid: SearchGrid) -> DeviceGrid:
        if grid.one_batch:
            return self._grid_of_batch(grid)
        with self._lock:
            if id(grid) not in self._grids:
                made = DeviceGrid(grid, self.arithmetic, self.limits.tile_bytes)
                cp.cuda.get_current_stream().synchronize()
                self._grids[id(grid)] = made
            return self._grids[id(grid)]

    def _grid_of_batch(self, grid: SearchGrid) -> DeviceGrid:
        """Keep this thread's last grid only: the next batch's takes its place."""
        if not hasattr(self._thread, "stream"):
            self.attach()
        last: DeviceGrid | None = self._thread.last_grid
        if last is None or last.host is not grid:
            last = self._thread.last_grid = DeviceGrid(grid, self.arithmetic, 0)
        return last

    def _inverse_noise(
        self, images: images_.Images, likelihood: Likelihood, *, for_search: bool
    ) -> Any:
        """Give 1 / sigma2 per pixel; searches ignore shell 0, and cross-correlation the noise."""
        noise, is_cc = likelihood.sigma2_noise, likelihood.metric == "cc"
        key = id(images.geometry), noise.tobytes(), is_cc, for_search
        with self._lock:
            if key not in self._noise:
                shell = images.geometry.host.shell
                inverse = np.ones(shell.size) if is_cc and for_search else 1.0 / noise[shell]
                if for_search and not is_cc:
                    inverse[shell == 0] = 0.0
                self._noise[key] = cp.asarray(inverse.astype(self.arithmetic.real))
                cp.cuda.get_current_stream().synchronize()
            return self._noise[key]


def create(
    precision: str, limits: Limits | None = None, *, deterministic: bool = False
) -> GPUBackend:
    """Make the backend."""
    return GPUBackend(precision, limits, deterministic=deterministic)
