"""The M-step's passes on the CPU: numba for voxels, scipy for transforms, all cores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import fft

from relion_mpi.backend.cpu import map_power, voxels
from relion_mpi.backend.cpu.heap import give_back
from relion_mpi.backend.cpu.packing import unpack
from relion_mpi.backend.volumes import FourierSums, Uploaded
from relion_mpi.fourier.correlation import shell_powers
from relion_mpi.fourier.half_ball import row_starts
from relion_mpi.fourier.masks import mask_outside_to_mean, sinc_squared
from relion_mpi.fourier.shells import padded_size, round_half_away

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray


class CPUVolumes:
    """`relion_mpi.backend.volumes.VolumeBackend` on numpy arrays."""

    name = "cpu"

    def upload(
        self, volume: NDArray[np.floating[Any]], box_size: int, r_max: int, padding: int
    ) -> Uploaded:
        """Spread reduced sums over whole grids."""
        size = padded_size(r_max, padding)
        shape = (size, size, size // 2 + 1)
        data, weight = np.empty(shape, np.complex128), np.empty(shape)
        unpack(volume, row_starts(size), data, weight)
        sums = FourierSums(data, weight, box_size, r_max, padding, self)
        return Uploaded(sums, bool(np.isfinite(volume).all()), bool(weight.any()))

    def enforce_friedel(self, sums: FourierSums) -> None:
        """Add Friedel mates on the x = 0 plane; the origin stays."""
        origin = sums.size // 2
        for array in (sums.data, sums.weight):
            plane = array[:, :, 0]
            centre = plane[origin, origin]
            mate = plane[::-1, ::-1]
            total = plane + (mate.conj() if np.iscomplexobj(plane) else mate)
            total[origin, origin] = centre
            array[:, :, 0] = total

    def apply_point_group(self, sums: FourierSums, operators: NDArray[np.float64]) -> None:
        """Add the sums rotated by every operator but the identity."""
        if operators.shape[0] == 1:
            return
        data, weight = sums.data.copy(), sums.weight.copy()
        rotations = np.ascontiguousarray(operators[1:], np.float64)
        voxels.add_rotated(data, weight, rotations, sums.reach, sums.data, sums.weight)

    def join_low_resolution(
        self, first: FourierSums, second: FourierSums, last_shell: int
    ) -> None:
        """Replace both halves by their mean out to a shell."""
        inside = first.radius2() <= (first.padding * last_shell) ** 2
        for a, b in ((first.data, second.data), (first.weight, second.weight)):
            mean = 0.5 * (a[inside] + b[inside])
            a[inside] = mean
            b[inside] = mean

    def add(self, first: FourierSums, second: FourierSums) -> None:
        """Add the second half's sums to the first's."""
        first.data += second.data
        first.weight += second.weight

    def shell_powers(self, first: FourierSums, second: FourierSums) -> NDArray[np.float64]:
        """Average both halves onto the unpadded grid and multiply them shell by shell."""
        side = 2 * (first.r_max + 1) + 1
        averages = [
            voxels.downsample(sums.data, sums.weight, sums.padding, sums.reach, side)
            for sums in (first, second)
        ]
        axis = (np.arange(side) - side // 2) ** 2
        radius = np.sqrt(axis[:, None, None] + axis[:, None] + np.arange(side // 2 + 1) ** 2)
        shells = round_half_away(radius)
        shells[radius > first.r_max] = -1
        return shell_powers(
            averages[0].ravel(), averages[1].ravel(), shells.ravel(), first.r_max
        )

    def shell_sums(self, sums: FourierSums, prior: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum weights, voxels, and voxels whose weight outweighs the inverse prior."""
        found: NDArray[np.float64] = voxels.shell_sums(
            sums.weight, prior, sums.reach, sums.padding, sums.oversampling_correction, prior.size
        )
        return found

    def map_power(
        self, volume: NDArray[np.floating[Any]], r_max: int, padding: int
    ) -> NDArray[np.float64]:
        """Measure a reference's power per shell, in the units of the noise of images."""
        return map_power.map_power(volume, r_max, padding)

    def regularised(
        self, sums: FourierSums, prior: NDArray[np.float64] | None, min_shell: int
    ) -> NDArray[np.float64]:
        """Return the weights, with those of the prior added from a shell on."""
        weight: NDArray[np.float64] = sums.weight.copy()
        if prior is not None:
            factor = sums.oversampling_correction
            voxels.add_prior(weight, prior, sums.reach, sums.padding, factor, min_shell)
        return weight

    def mean_weight(self, sums: FourierSums, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Average weights over shells by truncated radius."""
        mean: NDArray[np.float64] = voxels.mean_weight(
            weight, sums.reach, sums.padding, sums.r_max
        )
        return mean

    def divide(
        self, sums: FourierSums, weight: NDArray[np.float64], floor: NDArray[np.float64]
    ) -> NDArray[np.complex128]:
        """Return data / weight, weights kept above their shell's floor."""
        transform: NDArray[np.complex128] = voxels.divide(
            sums.data, weight, floor, sums.reach, sums.padding
        )
        return transform

    def grid(
        self,
        sums: FourierSums,
        weight: NDArray[np.float64],
        blob: NDArray[np.float64],
        iterations: int,
    ) -> NDArray[np.complex128]:
        """Return data times weights whose convolution with the blob is flat."""
        radius2, reach2 = sums.radius2(), sums.reach**2
        kernel = _blob_volume(blob, sums.size, sums.box_size * sums.padding)
        inner = fft.ifftshift(radius2 < reach2, axes=(0, 1))
        target = fft.ifftshift(np.where(radius2 <= reach2, weight, 0.0), axes=(0, 1))
        factor = inner.astype(np.float64)
        for _ in range(iterations):
            real = fft.irfftn(factor * target, s=kernel.shape, workers=-1)
            real *= kernel
            convolved = np.abs(fft.rfftn(real, workers=-1))
            factor = np.where(inner, factor / np.maximum(convolved, 1e-6), factor)
        product: NDArray[np.complex128] = sums.data * fft.fftshift(factor, axes=(0, 1))
        product[radius2 > reach2] = 0.0
        return product

    def to_map(
        self,
        transform: NDArray[np.complex128],
        sums: FourierSums,
        edge_pix: float,
        dtype: DTypeLike = np.float64,
    ) -> NDArray[Any]:
        """Invert a transform, crop the box, mask its corners, undo the interpolation."""
        box, padding = sums.box_size, sums.padding
        big = padding * box
        # An even grid has one Nyquist plane, the positive one.
        low, high = min(sums.reach, big // 2 - 1), min(sums.reach, big // 2)
        origin = transform.shape[0] // 2
        coefficients = np.arange(-low, high + 1) % big
        kept = slice(origin - low, origin + high + 1)
        middle = (np.arange(box) - box // 2) % big
        # Axis by axis: only what is not zero goes in, and only the box comes out.
        # Each array goes as soon as the next one is there, the caller's included if it let go.
        spread = np.zeros((big, coefficients.size, high + 1), np.complex128)
        spread[coefficients] = transform[kept, kept, : high + 1]
        del transform
        planes = fft.ifft(spread, axis=0, workers=-1, overwrite_x=True)[middle]
        spread = np.zeros((box, big, high + 1), np.complex128)
        spread[:, coefficients] = planes
        del planes
        rows = fft.ifft(spread, axis=1, workers=-1, overwrite_x=True)[:, middle]
        del spread
        volume = fft.irfft(rows, n=big, axis=2, workers=-1)[:, :, middle]
        del rows
        volume *= float(box) ** 2
        volume = mask_outside_to_mean(volume, box / 2, edge_pix)
        volume /= sinc_squared(box, padding, 3)
        finished: NDArray[Any] = volume.astype(dtype, copy=False)
        return finished

    def release(self) -> None:
        """Keep nothing, and let the C library keep nothing."""
        give_back()


def _blob_volume(blob: NDArray[np.float64], size: int, big: int) -> NDArray[np.float64]:
    """Look the blob up on a wrapped odd grid, float64 (size,) * 3."""
    index = np.arange(size)
    wrapped = np.where(index < size / 2, index, index - size).astype(np.float64) ** 2
    radius = np.sqrt(wrapped[:, None, None] + wrapped[:, None] + wrapped)
    entry = (radius / big / (0.5 / blob.size)).astype(np.int64)
    return np.append(blob, 0.0)[np.minimum(entry, blob.size)]


def create() -> CPUVolumes:
    """Make the backend."""
    return CPUVolumes()
