"""Stacks of images that are written bit by bit, in any order."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.io.atomic import replacing
from relion_mpi.io.mrc import HEADER_BYTES, header_bytes

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

    from numpy.typing import NDArray

_MODES = {np.dtype(np.float32): 2, np.dtype(np.float16): 12}


class StackFile:
    """A stack that is being written; made by `new_stack`.

    Parameters
    ----------
    handle
        File, open for writing.
    shape
        (n, ny, nx).
    dtype
        float32 (mode 2) or float16 (mode 12).
    """

    def __init__(self, handle: BinaryIO, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> None:
        self._handle, self._shape, self._dtype = handle, shape, dtype
        # A row an image, so that the order of writing does not change the header.
        self._statistics = np.zeros((shape[0], 4))
        self._is_there = np.zeros(shape[0], np.bool_)

    def put(self, place: int, images: NDArray[np.generic]) -> None:
        """Write consecutive images.

        Parameters
        ----------
        place
            Of the first one, from 0.
        images : any number (n, ny, nx)
        """
        data = np.ascontiguousarray(images, dtype=self._dtype.newbyteorder("<"))
        if data.shape[1:] != self._shape[1:]:
            raise ValueError(f"images of shape {data.shape} do not go into {self._shape}")
        self._handle.seek(HEADER_BYTES + place * data[0].nbytes)
        self._handle.write(data.tobytes())
        for row, image in enumerate(data, place):
            values = image.astype(np.float64)
            squares = np.square(values).sum()
            self._statistics[row] = values.min(), values.max(), values.sum(), squares
        self._is_there[place : place + len(data)] = True

    def finish(self, pixel_size_angst: float) -> None:
        """Write the header.

        Parameters
        ----------
        pixel_size_angst
            Pixel size, Angstrom.

        Raises
        ------
        ValueError
            An image is missing.
        """
        n, ny, nx = self._shape
        if not self._is_there.all():
            raise ValueError(f"expected {n} images, found {int(self._is_there.sum())}")
        lowest, highest, mean, variance = 0.0, 0.0, 0.0, 0.0
        if n:
            lowest, highest = self._statistics[:, 0].min(), self._statistics[:, 1].max()
            mean, square = self._statistics[:, 2:].sum(axis=0) / (n * ny * nx)
            variance = max(square - mean**2, 0.0)
        statistics = lowest, highest, mean, float(np.sqrt(variance))
        self._handle.seek(0)
        self._handle.write(
            header_bytes(self._shape, _MODES[self._dtype], pixel_size_angst, statistics, stack=True)
        )


@contextmanager
def new_stack(
    path: str | os.PathLike[str],
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    pixel_size_angst: float,
) -> Iterator[StackFile]:
    """Yield a stack to put images in; it appears whole if the block succeeds, or not at all.

    Parameters
    ----------
    path
        File to replace.
    shape
        (n, ny, nx).
    dtype
        float32 (mode 2) or float16 (mode 12).
    pixel_size_angst
        Pixel size, Angstrom.

    Yields
    ------
    StackFile

    Raises
    ------
    ValueError
        Not all images were put in.
    """
    with replacing(path) as temporary, temporary.open("wb") as handle:
        stack = StackFile(handle, shape, dtype)
        yield stack
        stack.finish(pixel_size_angst)


def write_stack(
    path: str | os.PathLike[str],
    images: Iterable[NDArray[np.generic]],
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    pixel_size_angst: float,
) -> None:
    """Write a stack without ever holding it in memory, whole or not at all.

    Parameters
    ----------
    path
        File to replace.
    images : any number (ny, nx) each
    shape, dtype, pixel_size_angst
        As for `new_stack`.

    Raises
    ------
    ValueError
        Another number of images than the shape says.
    """
    with new_stack(path, shape, dtype, pixel_size_angst) as stack:
        n = 0
        for n, image in enumerate(images, 1):
            if n <= shape[0]:
                stack.put(n - 1, image[None])
        if n != shape[0]:
            raise ValueError(f"expected {shape[0]} images, found {n}")
