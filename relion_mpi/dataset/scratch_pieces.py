"""What is copied to a scratch disk: the images that are used, in pieces of some megabytes.

A copy of a stack is a sparse file in which each image lies where it lies in the stack: what is not
used takes no room, and whoever reads needs another path and nothing else.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from relion_mpi.io.mrc import MrcHeader

    Runs = list[tuple[int, int]]

PIECE_BYTES = 1 << 24
_DISK_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Piece:
    """Images of one stack that are copied together.

    Attributes
    ----------
    stack : index of the stack
    block : which part of the stack, counted in pieces that are full
    runs : first section and the one behind the last of each run of images, in order
    """

    stack: int
    block: int
    runs: Runs

    def n_bytes(self, header: MrcHeader) -> int:
        """Count the bytes of its images."""
        return sum(stop - start for start, stop in self.runs) * header.image_bytes

    def disk_bytes(self, header: MrcHeader) -> int:
        """Bound the room that it takes: runs begin and end within blocks of the disk."""
        blocks = 0
        for first, behind in byte_ranges(self.runs, header):
            blocks += -(-behind // _DISK_BLOCK) - first // _DISK_BLOCK
        return blocks * _DISK_BLOCK

    def is_within(self, runs: Runs) -> bool:
        """Whether other runs hold all of its images."""
        if self.runs == runs:
            return True
        mine = {section for start, stop in self.runs for section in range(start, stop)}
        theirs = {section for start, stop in runs for section in range(start, stop)}
        return mine <= theirs


def byte_ranges(runs: Runs, header: MrcHeader) -> Iterator[tuple[int, int]]:
    """Yield where each run begins and ends in the file.

    Parameters
    ----------
    runs
        As in `Piece`.
    header
        Of the stack.
    """
    for start, stop in runs:
        yield (
            header.data_offset + start * header.image_bytes,
            header.data_offset + stop * header.image_bytes,
        )


def file_bytes(header: MrcHeader) -> int:
    """Return the size of a stack, and of its copy, as its header tells."""
    return header.data_offset + header.nz * header.image_bytes


def copy_name(stack: Path) -> str:
    """Name the copy of a stack: stacks of one name in several folders differ."""
    return hashlib.sha256(str(stack).encode()).hexdigest()[:20] + ".images"


def pieces_of(
    headers: Sequence[MrcHeader], stacks: NDArray[np.int64], sections: NDArray[np.int64]
) -> list[Piece]:
    """Divide images into pieces that depend on the stacks alone.

    Parameters
    ----------
    headers
        Of all stacks.
    stacks, sections : int64 (n,)
        Stack and place in it, from 0, of each image that is used; in any order, also repeatedly.

    Returns
    -------
    list of Piece
        By stack and place.
    """
    if not stacks.size:
        return []
    per_block = np.array([max(PIECE_BYTES // one.image_bytes, 1) for one in headers], np.int64)
    order = np.lexsort((sections, stacks))
    stacks, sections = stacks[order], sections[order]
    new = np.ones(stacks.size, np.bool_)
    new[1:] = (np.diff(stacks) != 0) | (np.diff(sections) != 0)
    stacks, sections = stacks[new], sections[new]
    blocks = sections // per_block[stacks]
    changes = (np.diff(stacks) != 0) | (np.diff(blocks) != 0)
    breaks = np.flatnonzero(changes | (np.diff(sections) != 1)) + 1
    run_edges = np.array([0, *breaks.tolist(), stacks.size])
    starts, stops = sections[run_edges[:-1]], sections[run_edges[1:] - 1] + 1
    is_first = np.concatenate([[True], changes[run_edges[1:-1] - 1]])
    edges = [*np.flatnonzero(is_first).tolist(), starts.size]
    runs = list(zip(starts.tolist(), stops.tolist(), strict=True))
    at = run_edges[:-1][is_first]
    keys = zip(stacks[at].tolist(), blocks[at].tolist(), pairwise(edges), strict=True)
    return [Piece(stack, block, runs[a:b]) for stack, block, (a, b) in keys]
