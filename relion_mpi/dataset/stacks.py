"""Reading of particle images: runs of sections in one read."""

from __future__ import annotations

import os
from collections import OrderedDict
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

    from numpy.typing import NDArray

    from relion_mpi.io.mrc import MrcHeader

# Far below the usual limit of 1024 open files, many ranks on a host included.
_N_OPEN = 64
_NATIVE = np.dtype("<f4")


class StackReader:
    """Reader of particle images; one thread at a time.

    Parameters
    ----------
    headers
        Of all stacks.
    buffer
        Makes the arrays that images are read into, from a shape; float32.
    """

    def __init__(
        self,
        headers: Sequence[MrcHeader],
        buffer: Callable[[tuple[int, ...]], NDArray[np.float32]] | None = None,
    ) -> None:
        self._headers = headers
        self._buffer = buffer or _plain_buffer
        self._open: OrderedDict[int, int] = OrderedDict()  # stack -> descriptor, last used last
        self.n_runs = 0

    def read(
        self, stacks: NDArray[np.int64], sections: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Read images.

        Parameters
        ----------
        stacks : int64 (n,)
            Index of each image's stack, all of one box size.
        sections : int64 (n,)
            Place of each image in its stack, from 0.

        Returns
        -------
        float32 (n, box, box)
            Images in the order asked for; values may be non-finite if the file's are.

        Raises
        ------
        InputError
            A stack is shorter than its header said, or gone.
        ValueError
            Box sizes differ, or nothing was asked for.

        Notes
        -----
        Consecutive sections of a file are one read. Images sorted by file and section, as those of
        a batch, are read in place; other orders cost a copy.
        """
        stacks, sections = np.asarray(stacks, np.int64), np.asarray(sections, np.int64)
        n_img = stacks.size
        if n_img == 0:
            raise ValueError("no images were asked for")
        sides = {self._headers[stack].nx for stack in np.unique(stacks).tolist()}
        if len(sides) != 1:
            raise ValueError(f"images of several box sizes in one call: {sorted(sides)}")
        box = sides.pop()
        order = np.lexsort((sections, stacks))
        stacks, sections = stacks[order], sections[order]
        breaks = np.flatnonzero((np.diff(stacks) != 0) | (np.diff(sections) != 1)) + 1
        edges = [0, *breaks.tolist(), n_img]
        images = self._buffer((n_img, box, box))
        for start, stop in pairwise(edges):
            self._read_run(int(stacks[start]), int(sections[start]), images[start:stop])
        if np.array_equal(order, np.arange(n_img)):
            return images
        result = self._buffer(images.shape)
        result[order] = images
        return result

    def close(self) -> None:
        """Close all files."""
        while self._open:
            os.close(self._open.popitem()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def _read_run(self, stack: int, section: int, target: NDArray[np.float32]) -> None:
        """Fill `target` from consecutive sections of one file."""
        header = self._headers[stack]
        descriptor = self._descriptor(stack, header)
        offset = header.data_offset + section * header.image_bytes
        self.n_runs += 1
        if header.dtype == _NATIVE:
            _fill(descriptor, offset, target, header)
            return
        stored = np.empty(target.shape, dtype=header.dtype)
        _fill(descriptor, offset, stored, header)
        target[...] = stored

    def _descriptor(self, stack: int, header: MrcHeader) -> int:
        if stack in self._open:
            self._open.move_to_end(stack)
            return self._open[stack]
        if len(self._open) >= _N_OPEN:
            os.close(self._open.popitem(last=False)[1])
        try:
            descriptor = os.open(header.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise InputError(
                f"{header.path}: the stack was there when the run began and cannot be opened now "
                f"({error.strerror}); put it back and continue the run"
            ) from error
        self._open[stack] = descriptor
        return descriptor


def _plain_buffer(shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.empty(shape, np.float32)


def _fill(descriptor: int, offset: int, target: NDArray[np.generic], header: MrcHeader) -> None:
    """Read `target.nbytes` bytes; the kernel may give fewer in one call."""
    view = target.reshape(-1).view(np.uint8).data
    done = 0
    while done < len(view):
        n_bytes = os.preadv(descriptor, [view[done:]], offset + done)
        if n_bytes == 0:
            raise InputError(
                f"{header.path}: the file ends at byte {offset + done}, expected "
                f"{header.nz} images; it changed after the run began: put the original back"
            )
        done += n_bytes
