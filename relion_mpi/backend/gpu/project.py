"""Padded transforms of references on the device, and their slices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cupy as cp
import numpy as np

from relion_mpi.backend.gpu.launch import BLOCK, Arithmetic, blocks, reach_limit
from relion_mpi.fourier.masks import sinc_squared
from relion_mpi.fourier.shells import padded_size

if TYPE_CHECKING:
    from relion_mpi.backend.protocol import ImageGeometry


@dataclass(frozen=True, slots=True)
class References:
    """Padded transforms of one half-set.

    Attributes
    ----------
    volume : complex (n_class, size, size, size // 2 + 1), z and y centred, x from 0
    size, r_max, padding : geometry
    limit : square of the largest padded radius
    """

    volume: Any
    size: int
    r_max: int
    padding: int
    limit: Any

    @property
    def n_class(self) -> int:
        """Number of classes."""
        return int(self.volume.shape[0])

    @property
    def length(self) -> int:
        """Voxels of one class."""
        return int(self.volume[0].size)


def load(maps: Any, r_max: int, padding: int, arithmetic: Arithmetic) -> References:
    """Transform maps (n_class, box, box, box), as `backend.cpu.project.transform_reference`."""
    box = maps.shape[1]
    big, reach = padding * box, padding * r_max
    size = padded_size(r_max, padding)
    volume = cp.zeros((maps.shape[0], size, size, size // 2 + 1), arithmetic.pair)
    correction = cp.asarray((1.0 / sinc_squared(box, padding, 3)).astype(arithmetic.real))
    index = np.arange(-reach, reach + 1)
    rows = cp.asarray(index % big)
    columns = cp.arange(reach + 1)
    squared = cp.asarray(index.astype(np.float64) ** 2)
    radius2 = squared[:, None, None] + squared[None, :, None] + squared[reach:]
    factor = ((radius2 <= reach**2) / float(box) ** 2).astype(arithmetic.real)
    start = big // 2 - box // 2
    inner = slice(start, start + box)
    for k, one in enumerate(maps):
        padded = cp.zeros((big, big, big), arithmetic.real)
        padded[inner, inner, inner] = cp.asarray(one.astype(arithmetic.real)) * correction
        transform = cp.fft.rfftn(cp.fft.ifftshift(padded))
        del padded
        chosen = transform[rows[:, None, None], rows[None, :, None], columns[None, None, :]]
        volume[k, 1:-1, 1:-1, : reach + 1] = chosen * factor
    return References(volume, size, r_max, padding, reach_limit(reach, arithmetic.real))


def project(
    references: References,
    matrices: Any,
    geometry: ImageGeometry,
    class_index: int,
    arithmetic: Arithmetic,
) -> Any:
    """Return slices as host complex (n, n_pix)."""
    real = arithmetic.real
    rows = cp.asarray((references.padding * matrices[:, :2].reshape(-1, 6)).astype(real))
    n, n_pix = rows.shape[0], geometry.n_pix
    out = cp.empty((n, 2, n_pix), real)
    arithmetic.kernel("project", "slices")(
        (blocks(n_pix), n), (BLOCK,),
        (references.volume[class_index], np.int32(references.size), references.limit, rows,
         cp.asarray(geometry.slice_x.astype(real)), cp.asarray(geometry.slice_y.astype(real)),
         np.int32(n_pix), out),
    )  # fmt: skip
    host = out.get()
    return (host[:, 0] + 1j * host[:, 1]).astype(arithmetic.pair)
