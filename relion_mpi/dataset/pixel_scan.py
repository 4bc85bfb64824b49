"""A look at every pixel of a data set."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.dataset.pixel_checks import check_pixels
from relion_mpi.dataset.stacks import StackReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from relion_mpi.dataset.particles import Particles

# Large enough to be read at the disk's speed, small enough that a bar moves.
_CHUNK_BYTES = 16 << 20


def scan_pixels(
    particles: Particles, n_threads: int, on_done: Callable[[int], None]
) -> NDArray[np.uint8]:
    """Flag the particles whose images cannot be used.

    Parameters
    ----------
    particles
        Whose images are read, each once.
    n_threads
        Threads that read and look.
    on_done
        Called in this thread with the number of images of each finished read.

    Returns
    -------
    uint8 (n_particles,)
        What `check_pixels` says.

    Raises
    ------
    InputError
        A stack became shorter or unreadable.
    """
    flags = np.zeros(particles.n_particles, np.uint8)
    mine = threading.local()

    def look(rows: NDArray[np.int64]) -> int:
        if not hasattr(mine, "reader"):
            mine.reader = StackReader(particles.stack_headers)
        images = mine.reader.read(particles.stack_file[rows], particles.image_index[rows])
        flags[rows] = check_pixels(images)
        return int(rows.size)

    with ThreadPoolExecutor(n_threads) as pool:
        try:
            for n_done in pool.map(look, _chunks(particles)):
                on_done(n_done)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return flags


def _chunks(particles: Particles) -> list[NDArray[np.int64]]:
    """Cut the rows, sorted by place in the files, into pieces of one stack each."""
    rows = np.lexsort((particles.image_index, particles.stack_file))
    stacks = particles.stack_file[rows]
    pieces: list[NDArray[np.int64]] = []
    for run in np.split(rows, np.flatnonzero(np.diff(stacks)) + 1):
        header = particles.stack_headers[int(particles.stack_file[run[0]])]
        size = max(1, _CHUNK_BYTES // (4 * header.nx * header.ny))
        pieces += np.array_split(run, -(-run.size // size))
    return pieces
