"""Reading of particle images: runs of sections in one read."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import pairwise
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from relion_mpi.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

    from numpy.typing import NDArray

    from relion_mpi.dataset.scratch_images import ScratchImages
    from relion_mpi.io.mrc import MrcHeader

    Pixels = NDArray[np.floating[Any]]

log = logging.getLogger(__name__)

# Far below the usual limit of 1024 open files, many ranks on a host included.
_N_OPEN = 64
# Images that are converted are read in parts that stay in a core's cache.
_PART_BYTES = 1 << 20
# What one of several threads reads at a time: enough to outweigh handing it over.
_SHARE_BYTES = 4 << 20


class StackReader:
    """Reader of particle images; one thread at a time.

    Parameters
    ----------
    headers
        Of all stacks.
    buffer
        Makes the arrays that images are read into, from a shape; float32.
    n_threads
        That share a read: one core fills memory more slowly than a GPU works it off.
    scratch
        Which images have a copy on a scratch disk. A copy that is gone or was changed costs a
        warning, and the stack itself is read.

    Attributes
    ----------
    n_runs : reads so far
    n_bytes, n_scratch_bytes : bytes that were read, all and those from the scratch disk; since
        they were last taken
    """

    def __init__(
        self,
        headers: Sequence[MrcHeader],
        buffer: Callable[[tuple[int, ...]], NDArray[np.float32]] | None = None,
        n_threads: int = 1,
        scratch: ScratchImages | None = None,
    ) -> None:
        self._headers = headers
        self._threads = ThreadPoolExecutor(n_threads, "read") if n_threads > 1 else None
        self._buffer = buffer or _plain_buffer
        self._scratch = scratch
        # (stack, its copy is meant) -> descriptor, last used last
        self._open: OrderedDict[tuple[int, bool], int] = OrderedDict()
        self._reads: list[Future[None]] = []
        self._lost: set[int] = set()  # stacks whose copies cannot be used any more
        self.n_runs = self.n_bytes = self.n_scratch_bytes = 0

    @overload
    def read(
        self, stacks: NDArray[np.int64], sections: NDArray[np.int64]
    ) -> NDArray[np.float32]: ...
    @overload
    def read(
        self, stacks: NDArray[np.int64], sections: NDArray[np.int64], out: Pixels
    ) -> Pixels: ...
    def read(
        self,
        stacks: NDArray[np.int64],
        sections: NDArray[np.int64],
        out: Pixels | None = None,
    ) -> Pixels:
        """Read images.

        Parameters
        ----------
        stacks : int64 (n,)
            Index of each image's stack, all of one box size.
        sections : int64 (n,)
            Place of each image in its stack, from 0.
        out : float32 or float16 (n, box, box)
            Filled and returned; made by `buffer` if left out.

        Returns
        -------
        float32 or float16 (n, box, box)
            Images in the order asked for; values may be non-finite if the file's are.

        Raises
        ------
        InputError
            A stack is shorter than its header said, or gone; or `out` is float16 and cannot hold a
            value.
        ValueError
            Box sizes differ, nothing was asked for, or `out` has another shape.

        Notes
        -----
        Consecutive sections of a file are one read. Images sorted by file and section, as those of
        a batch, are read in place; other orders cost a copy, other types than that of `out` a
        conversion.
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
        copied = self._copied(stacks, sections)
        changes = (np.diff(stacks) != 0) | (np.diff(sections) != 1) | (np.diff(copied) != 0)
        edges = [0, *(np.flatnonzero(changes) + 1).tolist(), n_img]
        shape = (n_img, box, box)
        images: Pixels = self._buffer(shape) if out is None else out
        if images.shape != shape:
            raise ValueError(f"images of shape {shape} do not go into {images.shape}")
        in_order = np.array_equal(order, np.arange(n_img))
        target = images if in_order else np.empty_like(images)
        for start, stop in pairwise(edges):
            run = int(stacks[start]), int(sections[start]), target[start:stop]
            if not (copied[start] and self._read_copy(*run)):
                self._read_run(*run)
        self._finish()
        self.n_bytes += n_img * self._headers[int(stacks[0])].image_bytes
        if not in_order:
            images[order] = target
        return images

    def take_bytes(self) -> dict[str, float]:
        """Return the bytes that were read since this was asked last, by whence."""
        found = {"bytes_read": self.n_bytes, "bytes_read_from_scratch": self.n_scratch_bytes}
        self.n_bytes = self.n_scratch_bytes = 0
        return dict(found)

    def close(self) -> None:
        """Close all files; nothing may be read any more."""
        if self._threads is not None:
            self._threads.shutdown()
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

    def _copied(
        self, stacks: NDArray[np.int64], sections: NDArray[np.int64]
    ) -> NDArray[np.int8]:
        """Return 1 for each image that has a copy, else 0."""
        if self._scratch is None:
            return np.zeros(stacks.size, np.int8)
        return self._scratch.holds(stacks, sections).astype(np.int8)

    def _read_copy(self, stack: int, section: int, target: Pixels) -> bool:
        """Fill `target` from the scratch disk; False if it is to be read from the stack."""
        if stack in self._lost:
            return False
        try:
            self._finish()  # what fails from here on is the copy
            self._read_run(stack, section, target, copy=True)
            self._finish()
        except (OSError, _ShortFileError) as error:
            if not self._lost:
                found = error if isinstance(error, OSError) else "a copy became shorter"
                log.warning(
                    "scratch: %s; the original %s is read instead, and so wherever a copy cannot "
                    "be used (has another job cleared the disk?)",
                    found, self._headers[stack].path,
                )  # fmt: skip
            self._lost.add(stack)
            return False
        self.n_scratch_bytes += len(target) * self._headers[stack].image_bytes
        return True

    def _read_run(
        self, stack: int, section: int, target: Pixels, *, copy: bool = False
    ) -> None:
        """Fill `target` from consecutive sections of one file, with threads by `_finish`."""
        header = self._headers[stack]
        self.n_runs += 1
        if self._threads is None:
            _read(self._descriptor(stack, header, copy=copy), header, section, target)
            return
        if (stack, copy) not in self._open and len(self._open) >= _N_OPEN:
            self._finish()  # a file that is being read must not be closed
        descriptor = self._descriptor(stack, header, copy=copy)
        n_part = max(_SHARE_BYTES // header.image_bytes, 1)
        for start in range(0, len(target), n_part):
            part = target[start : start + n_part]
            self._reads.append(
                self._threads.submit(_read, descriptor, header, section + start, part)
            )

    def _finish(self) -> None:
        """Wait for what threads read; raises what stopped them."""
        reads, self._reads = self._reads, []
        wait(reads)
        for one in reads:
            one.result()

    def _descriptor(self, stack: int, header: MrcHeader, *, copy: bool) -> int:
        key = stack, copy
        if key in self._open:
            self._open.move_to_end(key)
            return self._open[key]
        if len(self._open) >= _N_OPEN:
            os.close(self._open.popitem(last=False)[1])
        if copy:
            assert self._scratch is not None
            self._open[key] = self._scratch.open(stack, header)
            return self._open[key]
        try:
            descriptor = os.open(header.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise InputError(
                f"{header.path}: the stack was there when the run began and cannot be opened now "
                f"({error.strerror}); put it back and continue the run"
            ) from error
        self._open[key] = descriptor
        return descriptor


class _ShortFileError(InputError):
    """A file ends before its last image."""


def _plain_buffer(shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.empty(shape, np.float32)


def _read(descriptor: int, header: MrcHeader, section: int, target: Pixels) -> None:
    """Fill `target` from consecutive sections of an open file."""
    offset = header.data_offset + section * header.image_bytes
    if header.dtype == target.dtype:
        _fill(descriptor, offset, target, header)
        return
    n_part = max(_PART_BYTES // header.image_bytes, 1)
    stored = np.empty((min(n_part, len(target)), *target.shape[1:]), header.dtype)
    for start in range(0, len(target), n_part):
        part = target[start : start + n_part]
        _fill(descriptor, offset + start * header.image_bytes, stored[: len(part)], header)
        _convert(stored[: len(part)], part, header, section + start)


def _convert(
    stored: NDArray[np.generic], target: Pixels, header: MrcHeader, section: int
) -> None:
    """Copy values to another type, refusing those that become infinite on the way."""
    with np.errstate(over="ignore"):
        target[...] = stored
    # float16 files may hold infinite values, as float32 ones may.
    is_narrower = target.dtype == np.float16 and stored.dtype.newbyteorder("=") != np.float16
    if is_narrower and np.isinf(target).any():
        bad = section + int(np.flatnonzero(np.isinf(target).any(axis=(1, 2)))[0])
        raise InputError(
            f"{header.path}: image {bad + 1} has values beyond {np.finfo(np.float16).max:.0f}, "
            "which half precision cannot hold; normalise the particles, or keep the images in "
            "single precision"
        )


def _fill(descriptor: int, offset: int, target: NDArray[np.generic], header: MrcHeader) -> None:
    """Read `target.nbytes` bytes; the kernel may give fewer in one call."""
    view = target.reshape(-1).view(np.uint8).data
    done = 0
    while done < len(view):
        n_bytes = os.preadv(descriptor, [view[done:]], offset + done)
        if n_bytes == 0:
            raise _ShortFileError(
                f"{header.path}: the file ends at byte {offset + done}, expected "
                f"{header.nz} images; it changed after the run began: put the original back"
            )
        done += n_bytes
