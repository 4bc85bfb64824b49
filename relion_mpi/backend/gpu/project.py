"""Padded transforms of references on the device, and their slices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cupy as cp
import numpy as np

from relion_mpi.backend.gpu.launch import BLOCK, Arithmetic, blocks, reach_limit
from relion_mpi.backend.gpu.staging import to_device
from relion_mpi.backend.half_plane import n_rows, plane_shape
from relion_mpi.fourier.shells import padded_size

if TYPE_CHECKING:
    from relion_mpi.backend.gpu.prepare import DeviceGeometry
    from relion_mpi.backend.protocol import ImageGeometry


@dataclass(frozen=True, slots=True, weakref_slot=True)
class References:
    """Padded transforms of one half-set.

    Attributes
    ----------
    source : what kernels draw from: complex (n_class, size, size, size // 2 + 1), z and y centred,
        x from 0, or (n_class, size, size // 2 + 1) if planar; or uint64 (n_class,) handles of
        textures
    textures : what the handles belong to
    n_class, size, r_max, padding : geometry
    limit : square of the largest padded radius
    planar : the references are 2D
    """

    source: Any
    textures: tuple[Any, ...]
    n_class: int
    size: int
    r_max: int
    padding: int
    limit: Any
    planar: bool = False

    @property
    def length(self) -> int:
        """Voxels of one class."""
        return (1 if self.planar else self.size) * n_rows(self.size)

    @property
    def texture_bytes(self) -> int:
        """Bytes of the textures, which CuPy's pool does not know."""
        return len(self.textures) * self.length * 8


def load(maps: Any, r_max: int, padding: int, arithmetic: Arithmetic) -> References:
    """Transform maps (n_class, box, box, box) or (n_class, box, box).

    As `backend.cpu.project.transform_reference`.
    """
    size, planar = padded_size(r_max, padding), maps.ndim == 3
    shape = plane_shape(size) if planar else (size, *plane_shape(size))
    n_class = maps.shape[0]
    limit = reach_limit(padding * r_max, arithmetic.real)
    if arithmetic.textures and not planar:
        volume = cp.zeros(shape, arithmetic.pair)
        made = []
        for one in maps:
            _transform(one, r_max, padding, volume, arithmetic)
            made.append(_texture(volume))
        source = cp.asarray(np.array([texture.ptr for texture in made], np.uint64))
        return References(source, tuple(made), n_class, size, r_max, padding, limit)
    source = cp.zeros((n_class, *shape), arithmetic.pair)
    for one, volume in zip(maps, source, strict=True):
        _transform(one, r_max, padding, volume, arithmetic)
    return References(source, (), n_class, size, r_max, padding, limit, planar)


def zeros(r_max: int, padding: int, arithmetic: Arithmetic) -> References:
    """Make references of one class that are zero, as large as the sums that they go with.

    Kernels find the voxels of both by one size.
    """
    size = padded_size(r_max, padding)
    source = cp.zeros((1, size, *plane_shape(size)), arithmetic.pair)
    limit = reach_limit(padding * r_max, arithmetic.real)
    if not arithmetic.textures:
        return References(source, (), 1, size, r_max, padding, limit)
    texture = _texture(source[0])
    handle = cp.asarray(np.array([texture.ptr], np.uint64))
    return References(handle, (texture,), 1, size, r_max, padding, limit)


def _transform(one: Any, r_max: int, padding: int, volume: Any, arithmetic: Arithmetic) -> None:
    """Fill the padded transform of a map out to r_max."""
    box, size, planar = one.shape[0], volume.shape[0], one.ndim == 2
    big = padding * box
    padded = cp.zeros((big,) * one.ndim, arithmetic.real)
    placed = to_device(np.ascontiguousarray(one), arithmetic.real)
    arithmetic.kernel("reference", "place_map", planar=planar)(
        (blocks(placed.size),), (BLOCK,), (placed, np.int32(box), np.int32(big), padded)
    )
    del placed
    transform = cp.fft.rfftn(padded)
    del padded
    arithmetic.kernel("reference", "crop_transform", planar=planar)(
        (blocks(volume.size),), (BLOCK,),
        (transform, np.int32(big), np.int32(size), np.int32(padding * r_max),
         np.float64(1.0 / box**2), volume),
    )  # fmt: skip


def _texture(volume: Any) -> Any:
    """Copy a volume into a texture that interpolates."""
    from cupy.cuda import runtime, texture

    channels = texture.ChannelFormatDescriptor(32, 32, 0, 0, runtime.cudaChannelFormatKindFloat)
    depth, height, width = volume.shape
    array = texture.CUDAarray(channels, width, height, depth)
    # On this thread's stream: without one the copy would not wait for the transform.
    stream = cp.cuda.get_current_stream()
    array.copy_from(volume.view(np.float32).reshape(depth, height, 2 * width), stream)
    how = texture.TextureDescriptor(
        (runtime.cudaAddressModeClamp,) * 3, runtime.cudaFilterModeLinear,
        runtime.cudaReadModeElementType,
    )  # fmt: skip
    resource = texture.ResourceDescriptor(runtime.cudaResourceTypeArray, cuArr=array)
    stream.synchronize()  # the volume is filled again for the next class
    return texture.TextureObject(resource, how)


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
    arithmetic.kernel("project", "slices", planar=references.planar)(
        (blocks(n_pix), n), (BLOCK,),
        (references.source, np.int32(class_index), np.int64(references.length),
         np.int32(references.size), references.limit, rows,
         cp.asarray(geometry.slice_x.astype(real)), cp.asarray(geometry.slice_y.astype(real)),
         np.int32(n_pix), out),
    )  # fmt: skip
    host = out.get()
    return (host[:, 0] + 1j * host[:, 1]).astype(arithmetic.pair)


def slice_distances(
    references: References,
    first: Any,
    second: Any,
    weight: Any,
    geometry: DeviceGeometry,
    class_index: int,
    arithmetic: Arithmetic,
) -> Any:
    """Do what `Backend.slice_distances` promises."""
    real = arithmetic.real
    rows = [
        cp.asarray((references.padding * one[..., :2, :]).reshape(-1, 6).astype(real))
        for one in (first, second)
    ]
    n, n_trial = second.shape[:2]
    n_pix, n_shell = geometry.host.n_pix, geometry.host.n_shell
    out = cp.empty((n, n_trial, n_shell))
    arithmetic.kernel("project", "slice_distances", planar=references.planar)(
        (n * n_trial,), (BLOCK,),
        (references.source, np.int32(class_index), np.int64(references.length),
         np.int32(references.size), references.limit, *rows, np.int32(n_trial),
         cp.asarray(weight.astype(real)), geometry.slice_x, geometry.slice_y, geometry.shell_order,
         geometry.shell_start, np.int32(n_pix), np.int32(n_shell), out),
    )  # fmt: skip
    return out.get()
