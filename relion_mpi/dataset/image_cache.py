"""Particle images kept in memory between iterations, batch by batch.

Batches stay the same for a whole run, so each gets one piece of memory in which its images lie one
after the other: a batch is read from its files once and then used where it lies. Ranks may share
the memory; which ranks do, and how, is not known here.
"""

from __future__ import annotations

import logging
import mmap
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from relion_mpi.dataset.batches import Batch
    from relion_mpi.dataset.particles import Particles
    from relion_mpi.dataset.stacks import StackReader

    Bytes = NDArray[np.uint8]

log = logging.getLogger(__name__)

PAGE_BYTES = max(4096, mmap.PAGESIZE)
"""Pieces start at multiples of it, so that each can be registered with a GPU by itself."""

_HALF_MODE = 12


@dataclass(frozen=True, slots=True)
class CacheLayout:
    """Where the first batches of a run lie; later ones are not kept.

    Attributes
    ----------
    offset : int64 (n_batch + 1,) byte at which each piece starts, a whole number of pages, and
        the end of the last
    n_img : int64 (n_batch,) images of each batch
    box : int64 (n_batch,) their box size
    is_half : bool (n_batch,) kept as float16, else as float32
    rounded : images that are not kept are rounded to float16 as well: how many are kept depends on
        the memory there is, and numbers must not
    """

    offset: NDArray[np.int64]
    n_img: NDArray[np.int64]
    box: NDArray[np.int64]
    is_half: NDArray[np.bool_]
    rounded: bool = False

    @property
    def n_batch(self) -> int:
        """Batches that are kept."""
        return int(self.n_img.size)

    @property
    def n_bytes(self) -> int:
        """Memory for all of them."""
        return int(self.offset[-1])

    def first_in(self, n_bytes: int) -> int:
        """Count the batches that fit in less memory."""
        return int(np.searchsorted(self.offset[1:], n_bytes, side="right"))


def nothing_kept() -> CacheLayout:
    """Return the layout of a cache that keeps nothing."""
    none = np.zeros(0, np.int64)
    return CacheLayout(np.zeros(1, np.int64), none, none, none.astype(np.bool_))


def make_layout(
    particles: Particles, batches: Sequence[Batch], n_bytes: int, *, half: bool = False
) -> CacheLayout:
    """Lay out as many of the first batches as fit.

    Parameters
    ----------
    particles
        Say where images are.
    batches
        In their order of a run; all images of one have one box size.
    n_bytes
        Memory that may be used.
    half
        Keep all images as float16. Values are rounded to 11 bits (one part in 2000, far below the
        noise of normalised particles); one beyond 65504 ends the run when it is read. Without it
        float16 is used where the files are float16, which loses nothing.

    Returns
    -------
    CacheLayout
        int8, int16 and uint16 images are laid out as float32, unless `half`.
    """
    boxes = np.array([header.nx for header in particles.stack_headers], np.int64)
    stored_half = np.array([header.mode == _HALF_MODE for header in particles.stack_headers])
    n_img, box = np.zeros((2, len(batches)), np.int64)
    is_half = np.zeros(len(batches), np.bool_)
    for i, batch in enumerate(batches):
        stacks = particles.stack_file[batch.particles]
        n_img[i], box[i] = stacks.size, boxes[stacks[0]]
        is_half[i] = half or stored_half[stacks].all()
    sizes = n_img * box**2 * np.where(is_half, 2, 4)
    pages = -(-sizes // PAGE_BYTES)
    offset = np.concatenate([[0], np.cumsum(pages) * PAGE_BYTES])
    everything = CacheLayout(offset, n_img, box, is_half)
    n = everything.first_in(n_bytes)
    return CacheLayout(offset[: n + 1], n_img[:n], box[:n], is_half[:n], half)


class ImageCache:
    """Reader of batches that keeps what it has read; one thread at a time.

    Ranks that share `memory` and `flags` see what any of them has read. If two read one batch at
    the same time, both write the same bytes.

    Parameters
    ----------
    layout
        The same on all ranks.
    memory : uint8 (n,)
        Starts at a page. It may be less than the layout wants: then fewer batches are kept.
    flags : uint8 (n_batch or more,)
        Zero at the start; not zero where a batch has been read.
    reader
        Reads the files.
    pin
        Called once in this process with each piece, after it has been filled, in a thread of its
        own: registers it with a GPU.
    claim
        Called before a piece is written to; says whether there is memory for it.
    """

    def __init__(
        self,
        layout: CacheLayout,
        memory: Bytes,
        flags: Bytes,
        reader: StackReader,
        pin: Callable[[Bytes], None] | None = None,
        claim: Callable[[Bytes], bool] | None = None,
    ) -> None:
        if memory.ctypes.data % PAGE_BYTES and memory.size:
            raise ValueError("the memory of an image cache must start at a page")
        self._layout = layout
        self._memory = memory
        self._flags = flags
        self._reader = reader
        self._pin = pin
        self._claim = claim
        self._pinned: set[int] = set()
        self._pinning: list[Future[None]] = []
        self._pinner = ThreadPoolExecutor(1, "pin")
        self._n_batch = min(layout.first_in(memory.size), flags.size)
        self._is_full = False

    @property
    def n_batch(self) -> int:
        """Batches that are kept here."""
        return self._n_batch

    def read(
        self, batch: int, stacks: NDArray[np.int64], sections: NDArray[np.int64]
    ) -> NDArray[np.floating[Any]]:
        """Return the images of a batch, from memory if they have been read before.

        Parameters
        ----------
        batch
            Index of the batch, as in the layout; below 0 for images that are none.
        stacks, sections : int64 (n,)
            Its images, as `StackReader.read` wants them; always the same for one batch.

        Returns
        -------
        float32 or float16 (n, box, box)
            A read-only view of the cache, or an array of its own for a batch that is not kept.

        Raises
        ------
        InputError
            As `StackReader.read`.
        ValueError
            The batch has another number of images in the layout.
        """
        if not 0 <= batch < self._n_batch:
            return self._read_past(stacks, sections)
        layout = self._layout
        n_img, box = int(layout.n_img[batch]), int(layout.box[batch])
        if stacks.size != n_img:
            raise ValueError(f"batch {batch} has {n_img} images in the layout, not {stacks.size}")
        piece = self._memory[layout.offset[batch] : layout.offset[batch + 1]]
        dtype = np.dtype(np.float16 if layout.is_half[batch] else np.float32)
        images = piece[: n_img * box * box * dtype.itemsize].view(dtype).reshape(n_img, box, box)
        if not self._flags[batch]:
            if not self._is_writable(piece):
                return self._read_past(stacks, sections)
            self._reader.read(stacks, sections, images)
            _fence()
            self._flags[batch] = 1
        _fence()
        if self._pin is not None and batch not in self._pinned:
            self._pinned.add(batch)
            self._pinning.append(self._pinner.submit(self._pin, piece))
        images.flags.writeable = False
        return images

    def finish_pinning(self) -> None:
        """Wait until what was read is registered; its pixels may be looked at before."""
        while self._pinning:
            self._pinning.pop().result()

    def _read_past(
        self, stacks: NDArray[np.int64], sections: NDArray[np.int64]
    ) -> NDArray[np.floating[Any]]:
        """Read images that are not kept."""
        images = self._reader.read(stacks, sections)
        if not self._layout.rounded or images.dtype == np.float16:
            return images
        with np.errstate(over="ignore"):
            half = images.astype(np.float16)
        if np.isinf(half).any():
            self._reader.read(stacks, sections, half)  # names the image that is too bright
        return half

    def _is_writable(self, piece: Bytes) -> bool:
        """Ask for the memory of a piece; once there is none, no more is asked for."""
        if self._is_full or self._claim is None:
            return not self._is_full
        self._is_full = not self._claim(piece)
        if self._is_full:
            log.warning("shared memory is full: images not kept so far are read every iteration")
        return not self._is_full


_order = threading.Lock()


def _fence() -> None:
    """Keep the order of memory accesses before and after, as other processes see them.

    Processors other than x86 may show a flag before what it stands for. Releasing a lock and then
    taking it lets nothing pass in either direction.
    """
    for _ in range(2):
        with _order:
            pass
