"""Which images have a copy on a scratch disk, for whoever reads them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.dataset.scratch_copy import ChangedError
from relion_mpi.dataset.scratch_pieces import copy_name, file_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from relion_mpi.dataset.scratch_pieces import Piece
    from relion_mpi.io.mrc import MrcHeader


@dataclass(frozen=True, slots=True)
class ScratchImages:
    """Copies on the scratch disk of a node.

    Attributes
    ----------
    folder : where they are
    first : int64 (n_stack,) place of each stack's first image in `is_there`
    is_there : bool (images of all stacks,) whether it has been copied
    mtime_ns : int64 (n_stack,) of each copy when it was complete
    """

    folder: Path
    first: NDArray[np.int64]
    is_there: NDArray[np.bool_]
    mtime_ns: NDArray[np.int64]

    def holds(
        self, stacks: NDArray[np.int64], sections: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Tell which images have a copy.

        Parameters
        ----------
        stacks, sections : int64 (n,)
            Of each image.

        Returns
        -------
        bool (n,)
        """
        there: NDArray[np.bool_] = self.is_there[self.first[stacks] + sections]
        return there

    def open(self, stack: int, header: MrcHeader) -> int:
        """Open the copy of a stack.

        Parameters
        ----------
        stack
            Its index.
        header
            Its header.

        Returns
        -------
        int
            A descriptor, for the caller to close.

        Raises
        ------
        OSError
            The copy is gone, or somebody has written to it.
        """
        path = self.folder / copy_name(header.path)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        found = os.fstat(descriptor)
        expected = (file_bytes(header), int(self.mtime_ns[stack]))
        if (found.st_size, found.st_mtime_ns) != expected:
            os.close(descriptor)
            raise ChangedError(f"{path} was changed by another program")
        return descriptor


def scratch_images(
    folder: Path, headers: Sequence[MrcHeader], pieces: Iterable[Piece]
) -> ScratchImages:
    """Describe complete copies.

    Parameters
    ----------
    folder
        Of the copies.
    headers
        Of all stacks.
    pieces
        That have been copied; those of a copy that is gone are left out.
    """
    sizes = np.array([header.nz for header in headers], np.int64)
    first = np.cumsum(sizes) - sizes
    is_there = np.zeros(int(sizes.sum()), np.bool_)
    mtime_ns = np.zeros(sizes.size, np.int64)
    for piece in pieces:
        if not mtime_ns[piece.stack]:
            mtime_ns[piece.stack] = _mtime_ns(folder / copy_name(headers[piece.stack].path))
        for start, stop in piece.runs:
            at = first[piece.stack]
            is_there[at + start : at + stop] = mtime_ns[piece.stack] > 0
    return ScratchImages(folder, first, is_there, mtime_ns)


def _mtime_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return -1
