"""MRC maps and particle stacks: headers, whole maps, float32 output."""

from __future__ import annotations

import logging
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.core.errors import InputError
from relion_mpi.io.atomic import replacing

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

HEADER_BYTES = 1024
_KINDS = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_LARGEST_SIDE = 1 << 24
_PIECE_BYTES = 1 << 23
_READERS = 4


@dataclass(frozen=True, slots=True)
class MrcHeader:
    """What is needed to read an MRC file.

    `dtype` includes the byte order; `origin_angst` (x, y, z) is where the header puts voxel 0, by
    its ORIGIN, or by its NSTART where that is 0; models lie in this frame.
    """

    path: Path
    nx: int
    ny: int
    nz: int
    mode: int
    pixel_size_angst: float
    data_offset: int
    dtype: np.dtype[Any]
    axes: tuple[int, int, int]
    origin_angst: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def image_bytes(self) -> int:
        """Size of one section in bytes."""
        return self.nx * self.ny * self.dtype.itemsize


def read_header(path: str | os.PathLike[str]) -> MrcHeader:
    """Read the header of an MRC file and check it against the size of the file.

    Parameters
    ----------
    path
        Map or stack of mode 0, 1, 2, 6 or 12 in either byte order.

    Returns
    -------
    MrcHeader
        Sizes, numpy dtype and offset of the data; `pixel_size_angst` is 0 where the file has none.

    Raises
    ------
    InputError
        Missing file, not MRC, another mode, or fewer bytes than the header announces.
    """
    path = Path(path)
    try:
        with path.open("rb", buffering=0) as handle:
            raw = handle.read(HEADER_BYTES)
            n_bytes = os.fstat(handle.fileno()).st_size
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise InputError(
            f"{path}: an MRC file was expected, but there is no such file; check the name"
        ) from error
    except OSError as error:
        raise InputError(
            f"{path}: the file cannot be read ({error.strerror}); check its permissions and links"
        ) from error
    if len(raw) < HEADER_BYTES:
        raise InputError(
            f"{path}: found {len(raw)} bytes, expected an MRC header of {HEADER_BYTES}; the file "
            "is truncated or not MRC: copy or write it again"
        )
    header = _parse_header(path, raw)
    expected = header.data_offset + header.nz * header.image_bytes
    if n_bytes < expected:
        raise InputError(
            f"{path}: found {n_bytes} bytes, expected {expected} for {header.nz} sections of "
            f"{header.nx} x {header.ny} in mode {header.mode}; the file is truncated: copy or "
            "write it again"
        )
    if n_bytes > expected:
        log.warning("%s: %d bytes follow the data and are ignored", path, n_bytes - expected)
    return header


def read_map(path: str | os.PathLike[str]) -> tuple[NDArray[np.float32], float]:
    """Read a whole MRC file.

    Parameters
    ----------
    path
        Map or stack.

    Returns
    -------
    volume : float32 (z, y, x)
        Grey values.
    pixel_size_angst : float
        Pixel size along x, Angstrom; 0 where the header has none.

    Raises
    ------
    InputError
        As `read_header`; also where the axes are stored in another order than x, y, z.
    """
    header = read_header(path)
    if header.axes not in {(1, 2, 3), (0, 0, 0)}:
        raise InputError(
            f"{path}: axes (mapc, mapr, maps) are {header.axes}, expected (1, 2, 3); permute "
            "the map"
        )
    count = header.nx * header.ny * header.nz
    values = np.empty(count, header.dtype)
    if not _read_into(path, header.data_offset, values):
        raise InputError(f"{path}: the file became shorter while it was read; write it again")
    volume = values.astype(np.float32, copy=False).reshape(header.nz, header.ny, header.nx)
    return volume, header.pixel_size_angst


def write_map(
    path: str | os.PathLike[str],
    volume: NDArray[np.floating[Any]],
    pixel_size_angst: float,
    *,
    stack: bool = False,
) -> None:
    """Write a map or stack as float32 (mode 2), whole or not at all.

    Parameters
    ----------
    path
        File to replace.
    volume : floating (z, y, x) or (y, x)
        Grey values; with `stack`, z counts images.
    pixel_size_angst
        Pixel size, Angstrom.
    stack
        Mark the file as a stack of images (space group 0) instead of a volume (1).

    Raises
    ------
    ValueError
        The array has neither two nor three dimensions.
    """
    if volume.ndim not in {2, 3}:
        raise ValueError(f"expected 2 or 3 dimensions, found shape {volume.shape}")
    stack = stack or volume.ndim == 2
    sections = volume.reshape(-1, *volume.shape[-2:])
    with replacing(path) as temporary, temporary.open("wb") as handle:
        statistics = _statistics(sections)
        handle.write(header_bytes(sections.shape, 2, pixel_size_angst, statistics, stack=stack))
        for section in sections:  # converted one by one, to spare memory
            np.ascontiguousarray(section, "<f4").tofile(handle)


def header_bytes(
    shape: tuple[int, ...],
    mode: int,
    pixel_size_angst: float,
    statistics: tuple[float, float, float, float],
    *,
    stack: bool,
) -> bytes:
    """Make the header of an MRC file.

    Parameters
    ----------
    shape
        (nz, ny, nx).
    mode
        2 for float32, 12 for float16.
    pixel_size_angst
        Pixel size, Angstrom.
    statistics
        Smallest and largest value, mean, standard deviation.
    stack
        A stack of images (space group 0) instead of a volume (1).

    Returns
    -------
    bytes
        HEADER_BYTES of them, little-endian.
    """
    nz, ny, nx = shape
    lowest, highest, mean, deviation = statistics
    mz = 1 if stack else nz
    cell = [pixel_size_angst * n for n in (nx, ny, mz)]
    header = bytearray(HEADER_BYTES)
    struct.pack_into("<10i", header, 0, nx, ny, nz, mode, 0, 0, 0, nx, ny, mz)
    struct.pack_into("<6f", header, 40, *cell, 90.0, 90.0, 90.0)
    struct.pack_into("<3i3f", header, 64, 1, 2, 3, lowest, highest, mean)
    struct.pack_into("<2i", header, 88, 0 if stack else 1, 0)
    struct.pack_into("<i", header, 108, 20140)
    header[208:216] = b"MAP \x44\x44\x00\x00"
    struct.pack_into("<fi", header, 216, deviation, 1)
    label = b"Written by relion_mpi"
    header[224 : 224 + len(label)] = label
    return bytes(header)


def _read_into(path: str | os.PathLike[str], offset: int, values: NDArray[Any]) -> bool:
    """Fill an array from a file; return whether there was enough.

    Several threads: one core is slower than the disk, or the memory that holds the file, and a
    large new array is slow to touch for the first time.
    """
    view = values.view(np.uint8).data

    def read(start: int) -> int:
        done, end = start, min(start + _PIECE_BYTES, len(view))
        while done < end:
            n_read = os.preadv(handle.fileno(), [view[done:end]], offset + done)
            if n_read == 0:
                break
            done += n_read
        return done - start

    with Path(path).open("rb", buffering=0) as handle, ThreadPoolExecutor(_READERS) as threads:
        return sum(threads.map(read, range(0, len(view), _PIECE_BYTES))) == len(view)


def _parse_header(path: Path, raw: bytes) -> MrcHeader:
    order = _byte_order(raw)
    words = struct.unpack(f"{order}10i6f3i3f2i", raw[:96])
    nx, ny, nz, mode = words[:4]
    mx, cell_x, n_extended = words[7], words[10], words[23]
    plausible = all(0 < n <= _LARGEST_SIDE for n in (nx, ny, nz)) and 0 <= n_extended < 1 << 31
    if not plausible or not 0 <= mode <= 1000:
        raise InputError(
            f"{path}: the header says {nx} x {ny} x {nz} pixels, mode {mode}; this is not an MRC "
            "file"
        )
    if mode not in _KINDS:
        raise InputError(
            f"{path}: MRC mode {mode} cannot be read, expected one of {sorted(_KINDS)}; convert "
            "the file to mode 2 (float32)"
        )
    pixel_size = cell_x / mx if mx > 0 and np.isfinite(cell_x) and cell_x > 0 else 0.0
    return MrcHeader(
        path=path,
        nx=nx,
        ny=ny,
        nz=nz,
        mode=mode,
        pixel_size_angst=float(pixel_size),
        data_offset=HEADER_BYTES + n_extended,
        dtype=np.dtype(order + _KINDS[mode]),
        axes=(words[16], words[17], words[18]),
        origin_angst=_origin(struct.unpack(f"{order}3f", raw[196:208]), words[4:7], pixel_size),
    )


def _origin(
    given: tuple[float, ...], start: tuple[int, ...], pixel_size: float
) -> tuple[float, float, float]:
    """Return where voxel 0 lies, Angstrom; ORIGIN counts before NSTART."""
    x, y, z = given if np.isfinite(given).all() else (0.0, 0.0, 0.0)
    if x == y == z == 0.0:
        x, y, z = (n * pixel_size for n in start)
    return float(x), float(y), float(z)


def _byte_order(raw: bytes) -> str:
    """Return '<' or '>'; where the machine stamp is missing, the mode tells."""
    if raw[212] == 0x44:
        return "<"
    if raw[212] == 0x11:
        return ">"
    return "<" if 0 <= struct.unpack("<i", raw[12:16])[0] <= 1000 else ">"


def _statistics(sections: NDArray[np.floating[Any]]) -> tuple[float, float, float, float]:
    """Return least, largest, mean and standard deviation of what is stored, each in float64."""
    least, most, total = np.inf, -np.inf, 0.0
    for section in sections:
        stored = np.asarray(section, np.float32)
        least, most = min(least, float(stored.min())), max(most, float(stored.max()))
        total += float(stored.sum(dtype=np.float64))
    mean, square = total / sections.size, 0.0
    for section in sections:
        off = np.subtract(np.asarray(section, np.float32), mean, dtype=np.float64).ravel()
        square += float(off @ off)
    return least, most, mean, float(np.sqrt(square / sections.size))
