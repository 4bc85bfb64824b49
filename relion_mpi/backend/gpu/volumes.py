"""The M-step's passes on the GPU, in float64.

Each pass is one kernel of `kernels/volumes.cu` or `kernels/maps.cu`; sums per shell are added in a
fixed order, so that a run repeats bit for bit on one GPU. `relion_mpi.backend.gpu.volume_memory`
tells the memory.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import cupy as cp
import cupyx
import numpy as np

from relion_mpi.backend.gpu.compile import kernel
from relion_mpi.backend.gpu.map_power import power_planes
from relion_mpi.backend.gpu.slab_fft import SlabTransform
from relion_mpi.backend.gpu.staging import COPY_THREADS, copy, to_host
from relion_mpi.backend.gpu.volume_memory import SLAB_VOXELS, slabs_at_once
from relion_mpi.backend.volumes import FourierSums, Uploaded
from relion_mpi.fourier.half_ball import row_starts
from relion_mpi.fourier.shells import padded_size

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

ROW_THREADS = 128
VOXEL_THREADS = 256


class GPUVolumes:
    """`relion_mpi.backend.volumes.VolumeBackend` on the current CUDA device."""

    name = "gpu"

    def upload(
        self, volume: NDArray[np.floating[Any]], box_size: int, r_max: int, padding: int
    ) -> Uploaded:
        """Copy reduced sums in slabs of planes through pinned memory and spread them there."""
        size = padded_size(r_max, padding)
        shape = (size, size, size // 2 + 1)
        data, weight = cp.empty(shape, np.complex128), cp.empty(shape, np.float64)
        seen = cp.zeros(2, np.int32)
        starts = row_starts(size)
        on_device, planes = cp.asarray(starts), starts[::size]  # first entry of each plane
        n_slab = max(SLAB_VOXELS, int(np.diff(planes).max()))
        slab = cp.empty((n_slab, 3), np.float64)
        pinned = [cupyx.empty_pinned((n_slab, 3), np.float64) for _ in range(2)]
        copied = [cp.cuda.Event(disable_timing=True) for _ in pinned]
        stream = cp.cuda.get_current_stream()
        z, k = 0, 0
        with ThreadPoolExecutor(COPY_THREADS) as threads:
            while z < size:
                last = int(np.searchsorted(planes, planes[z] + n_slab, side="right")) - 1
                rows = volume[planes[z] : planes[last]]
                n, buffer, event = rows.shape[0], pinned[k % 2], copied[k % 2]
                if k >= len(pinned):
                    event.synchronize()  # what the buffer held has left it
                copy(threads, rows, buffer[:n])
                slab[:n].set(buffer[:n], stream=stream)
                event.record(stream)
                kernel("volumes", "split")(
                    (size, last - z), (ROW_THREADS,),
                    (slab, np.int64(planes[z]), on_device, np.int32(z), np.int32(size), data,
                     weight, seen),
                )  # fmt: skip
                z, k = last, k + 1
        odd, any_weight = (bool(one) for one in seen.get())
        sums = FourierSums(data, weight, box_size, r_max, padding, self)
        return Uploaded(sums, not odd, any_weight)

    def enforce_friedel(self, sums: FourierSums) -> None:
        """Add Friedel mates on the x = 0 plane; the origin stays."""
        n_pair = sums.size**2 // 2
        kernel("volumes", "friedel")(
            (_blocks(n_pair),), (VOXEL_THREADS,),
            (sums.data, sums.weight, np.int32(sums.size), np.int32(n_pair)),
        )  # fmt: skip

    def apply_point_group(self, sums: FourierSums, operators: NDArray[np.float64]) -> None:
        """Add the sums rotated by every operator but the identity."""
        n = operators.shape[0] - 1
        if n == 0:
            return
        data, weight = cp.empty_like(sums.data), cp.empty_like(sums.weight)
        rotations = cp.asarray(np.ascontiguousarray(operators[1:], np.float64))
        kernel("volumes", "point_group")(
            (sums.size, sums.size), (ROW_THREADS,),
            (sums.data, sums.weight, rotations, np.int32(n), np.int32(sums.size),
             np.int32(sums.reach), data, weight),
        )  # fmt: skip
        sums.data, sums.weight = data, weight

    def join_low_resolution(
        self, first: FourierSums, second: FourierSums, last_shell: int
    ) -> None:
        """Replace both halves by their mean out to a shell."""
        kernel("volumes", "join")(
            (first.size, first.size), (ROW_THREADS,),
            (first.data, first.weight, second.data, second.weight, np.int32(first.size),
             np.int32(first.padding * last_shell)),
        )  # fmt: skip

    def add(self, first: FourierSums, second: FourierSums) -> None:
        """Add the second half's sums to the first's."""
        first.data += second.data
        first.weight += second.weight

    def shell_powers(self, first: FourierSums, second: FourierSums) -> NDArray[np.float64]:
        """Average both halves onto the unpadded grid and multiply them shell by shell."""
        n_shell = first.r_max + 1
        planes = cp.empty((2 * n_shell + 1, 3, n_shell), np.float64)
        kernel("volumes", "shell_powers")(
            (planes.shape[0],), (_threads(n_shell),),
            (first.data, first.weight, second.data, second.weight, np.int32(first.size),
             np.int32(first.padding), np.int32(first.r_max), planes),
        )  # fmt: skip
        return _added(planes)

    def shell_sums(self, sums: FourierSums, prior: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum weights, voxels, and voxels whose weight outweighs the inverse prior."""
        return _shell_sums(sums, sums.weight, prior, 0.5, sums.oversampling_correction)

    def map_power(
        self, volume: NDArray[np.floating[Any]], r_max: int, padding: int
    ) -> NDArray[np.float64]:
        """Measure a reference's power per shell, in the units of the noise of images."""
        power, count = _added(power_planes(volume, r_max, padding))
        scaled: NDArray[np.float64] = np.divide(power, count, out=power, where=count > 0)
        return scaled * (0.5 / float(volume.shape[0]) ** 4)

    def regularised(
        self, sums: FourierSums, prior: NDArray[np.float64] | None, min_shell: int
    ) -> Any:
        """Return the weights, with those of the prior added from a shell on."""
        if prior is None:
            return sums.weight.copy()
        weight = cp.empty_like(sums.weight)
        kernel("volumes", "regularise")(
            (sums.size, sums.size), (ROW_THREADS,),
            (sums.weight, cp.asarray(prior), np.int32(prior.size), np.int32(min_shell),
             np.int32(sums.size), np.int32(sums.reach), np.float64(sums.padding),
             np.float64(sums.oversampling_correction), weight),
        )  # fmt: skip
        return weight

    def mean_weight(self, sums: FourierSums, weight: Any) -> NDArray[np.float64]:
        """Average weights over shells by truncated radius."""
        total, count, _ = _shell_sums(sums, weight, np.zeros(sums.r_max), 0.0, 1.0)
        mean: NDArray[np.float64] = np.divide(
            total, count, out=np.zeros_like(total), where=count > 0
        )
        return mean

    def divide(self, sums: FourierSums, weight: Any, floor: NDArray[np.float64]) -> Any:
        """Return data / weight on the grid that is inverted, weights kept above a floor."""
        big = sums.padding * sums.box_size
        even = _inversion(sums).empty()
        kernel("maps", "divide")(
            (big, big), (ROW_THREADS,),
            (sums.data, weight, cp.asarray(floor), np.int32(floor.size), np.int32(sums.size),
             np.int32(sums.reach), np.float64(sums.padding), np.int32(big), even),
        )  # fmt: skip
        return even

    def grid(
        self, sums: FourierSums, weight: Any, blob: NDArray[np.float64], iterations: int
    ) -> Any:
        """Return data times weights whose convolution with the blob is flat."""
        factor = _flattening(sums, weight, blob, iterations)
        big = sums.padding * sums.box_size
        even = _inversion(sums).empty()
        kernel("maps", "multiply")(
            (big, big), (ROW_THREADS,),
            (sums.data, factor, np.int32(sums.size), np.int32(sums.reach), np.int32(big), even),
        )  # fmt: skip
        return even

    def to_map(
        self, transform: Any, sums: FourierSums, edge_pix: float, dtype: DTypeLike = np.float64
    ) -> NDArray[Any]:
        """Invert a transform, crop the box, mask its corners, undo the interpolation."""
        box, big = sums.box_size, sums.padding * sums.box_size
        # The map's planes lie on both sides of the origin.
        middle = [(0, box // 2), (big - box // 2, big)]
        real = _inversion(sums).inverse(transform, middle)
        found, outside = cp.empty((box, box, box), np.float64), cp.empty((box, 2), np.float64)
        scale = float(box) ** 2 / float(big) ** 3
        kernel("maps", "crop")(
            (box,), (VOXEL_THREADS,),
            (real, np.int32(big), np.int32(box), np.float64(scale), np.float64(edge_pix), found,
             outside),
        )  # fmt: skip
        del real, transform  # what is converted needs the room
        total, count = outside.get().sum(axis=0)
        kernel("maps", "finish")(
            (box, box), (ROW_THREADS,),
            (found, np.int32(box), np.int32(big), np.float64(total / count if count > 0 else 0.0),
             np.float64(edge_pix)),
        )  # fmt: skip
        return to_host(found.astype(dtype, copy=False))

    def release(self) -> None:
        """Give the memory that CuPy keeps back to the device."""
        cp.get_default_memory_pool().free_all_blocks()


def create() -> GPUVolumes:
    """Make the backend."""
    return GPUVolumes()


def _blocks(n: int) -> int:
    """Count the blocks that cover n voxels."""
    return -(-n // VOXEL_THREADS)


def _threads(n: int) -> int:
    """Round up to whole warps."""
    return -(-n // 32) * 32


def _inversion(sums: FourierSums) -> SlabTransform:
    """Make the inverse transform of the padded even grid; the map takes two halves of a box."""
    big = sums.padding * sums.box_size
    return SlabTransform(big, slabs_at_once(sums.box_size // 2, big))


def _flattening(
    sums: FourierSums, weight: Any, blob: NDArray[np.float64], iterations: int
) -> Any:
    """Iterate factors whose product with the weights, convolved with the blob, is flat."""
    size, reach = np.int32(sums.size), np.int32(sums.reach)
    rows, threads = (sums.size, sums.size), (ROW_THREADS,)
    factor, table = cp.empty_like(sums.weight), cp.asarray(blob)
    kernel("maps", "first_factor")(rows, threads, (size, reach, factor))
    transform = SlabTransform(sums.size, slabs_at_once(sums.size, sums.size))
    grid = transform.empty()
    for _ in range(iterations):
        kernel("maps", "weigh")(rows, threads, (factor, weight, size, reach, grid))
        real = transform.inverse(grid, [(0, sums.size)])
        kernel("maps", "taper")(
            rows, threads,
            (real, table, np.int32(blob.size), np.float64(sums.padding * sums.box_size),
             np.float64(1.0 / sums.size**3), size),
        )  # fmt: skip
        transform.forward(real)
        kernel("maps", "improve")(rows, threads, (factor, grid, size, reach))
    return factor


def _shell_sums(
    sums: FourierSums, weight: Any, prior: NDArray[np.float64], rounding: float, factor: float
) -> NDArray[np.float64]:
    """Sum over shells, a plane a block; float64 (3, n_shell)."""
    planes = cp.empty((sums.size, 3, prior.size), np.float64)
    kernel("volumes", "shell_sums")(
        (sums.size,), (_threads(prior.size),),
        (weight, cp.asarray(prior), np.int32(sums.size), np.int32(sums.reach),
         np.float64(sums.padding), np.float64(rounding), np.float64(factor),
         np.int32(prior.size), planes),
    )  # fmt: skip
    return _added(planes)


def _added(planes: Any) -> NDArray[np.float64]:
    """Add (n_plane, 3, n_shell) over planes, in their order."""
    n = planes[0].size
    total = cp.empty(planes.shape[1:], np.float64)
    kernel("volumes", "add_planes")(
        (_blocks(n),), (VOXEL_THREADS,), (planes, np.int32(planes.shape[0]), np.int32(n), total)
    )
    found: NDArray[np.float64] = total.get()
    return found
