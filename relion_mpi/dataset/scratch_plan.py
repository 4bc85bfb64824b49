"""What one node copies to its scratch disk, and into which folder."""

from __future__ import annotations

import logging
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from relion_mpi.dataset.scratch_folder import leftovers, new_folder, take_over
from relion_mpi.dataset.scratch_manifest import key_of, read_manifests

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from relion_mpi.dataset.scratch_folder import Leftover, ScratchFolder
    from relion_mpi.dataset.scratch_manifest import Copied, Key
    from relion_mpi.dataset.scratch_pieces import Piece
    from relion_mpi.io.mrc import MrcHeader

log = logging.getLogger(__name__)

# Asking a network file system is latency, not work.
_N_THREADS = 16
_GB = 1e9


@dataclass(slots=True)
class ScratchPlan:
    """What the ranks of a node are to do.

    Attributes
    ----------
    host : of the node
    folder : of its copies; None where nothing is copied
    pieces : of all images that are to be copied
    there : those that an earlier job has copied, by index; to be checked
    to_copy : index of each that is to be copied and has room
    free_bytes : that may be used
    """

    host: str = field(default_factory=socket.gethostname)
    folder: Path | None = None
    pieces: list[Piece] = field(default_factory=list)
    there: dict[int, Copied] = field(default_factory=dict)
    to_copy: list[int] = field(default_factory=list)
    free_bytes: int = 0

    def n_bytes(self, headers: Sequence[MrcHeader], chosen: Sequence[int]) -> int:
        """Add up the images of some pieces."""
        return sum(self.pieces[i].n_bytes(headers[self.pieces[i].stack]) for i in chosen)

    def told(self, headers: Sequence[MrcHeader]) -> str:
        """Say it in one line."""
        everything = self.n_bytes(headers, range(len(self.pieces)))
        if not everything:
            return f"{self.host}: nothing to copy, all images stay in memory"
        there = self.n_bytes(headers, list(self.there))
        copied = self.n_bytes(headers, self.to_copy)
        words = [f"{self.host}: {_size(copied)} of {_size(everything)} go to {self.folder}"]
        if there:
            words.append(f"{_size(there)} are there already")
        if everything > there + copied:
            words.append(
                f"{_size(everything - there - copied)} do not fit and are read in place "
                f"({_size(self.free_bytes)} may be used beside --keep_free_scratch)"
            )
        return ", ".join(words)


def _size(n_bytes: int) -> str:
    return f"{n_bytes / _GB:.1f} GB" if n_bytes >= _GB else f"{n_bytes / 1e6:.1f} MB"


def make_plan(
    root: Path,
    headers: Sequence[MrcHeader],
    pieces: list[Piece],
    keep_free_bytes: float,
    *,
    reuse: bool,
    keep: bool,
) -> tuple[ScratchPlan, ScratchFolder | None]:
    """Choose the folder and what is copied to it; on one rank of a node.

    Parameters
    ----------
    root
        --scratch_dir; it exists.
    headers
        Of all stacks.
    pieces
        Of all images that are to be copied.
    keep_free_bytes
        Of the disk.
    reuse
        Also take a folder that a job has left on purpose.
    keep
        Leave the folder to later jobs.

    Returns
    -------
    plan : ScratchPlan
        What fits, in the order of the pieces.
    folder : ScratchFolder or None
        Made or taken over, and locked; None where there is nothing to copy.

    Raises
    ------
    InputError
        No folder can be made.
    """
    plan = ScratchPlan(pieces=pieces)
    folder, there = _earlier_folder(root, headers, pieces, reuse=reuse, keep=keep)
    if not pieces:
        return plan, None
    folder = folder or new_folder(root, keep=keep)
    plan.folder, plan.there = folder.path, there
    plan.free_bytes = max(int(free_bytes(folder.path) - keep_free_bytes), 0)
    room = plan.free_bytes
    for i, piece in enumerate(pieces):
        if i not in there:
            room -= piece.disk_bytes(headers[piece.stack])
            if room < 0:
                break
            plan.to_copy.append(i)
    return plan, folder


def free_bytes(folder: Path) -> int:
    """Return what a disk can still take.

    Parameters
    ----------
    folder
        On the disk.
    """
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _earlier_folder(
    root: Path, headers: Sequence[MrcHeader], pieces: list[Piece], *, reuse: bool, keep: bool
) -> tuple[ScratchFolder | None, dict[int, Copied]]:
    """Take over the folder of an earlier job that holds most, and tell of the others."""
    found = leftovers(root)
    of_use = [
        (one, _matching(one.path, headers, pieces)) for one in found if _may_be_taken(one, reuse)
    ]
    of_use = sorted((one for one in of_use if one[1]), key=lambda one: -len(one[1]))
    taken, folder, there = None, None, {}
    for taken, matching in of_use:
        folder = take_over(taken, keep=keep)
        if folder is not None:
            there = _unchanged(headers, pieces, matching)
            break
    for one in found:
        if folder is None or one is not taken:
            _tell(one)
    if reuse and folder is None:
        log.info("%s: --reuse_scratch found nothing of use in %s", socket.gethostname(), root)
    return folder, there


def _may_be_taken(one: Leftover, reuse: bool) -> bool:
    """Whether a leftover may become ours.

    On a disk that several hosts share, another host's lock may not be seen here: then only what a
    job has left on purpose is touched.
    """
    return (reuse and one.is_kept) or (one.is_of_this_host and not one.is_kept)


def _tell(one: Leftover) -> None:
    if one.is_kept:
        log.info("%s was kept by a job of %s; --reuse_scratch uses it", one.path, one.since)
    else:
        log.warning(
            "%s was left by a job that was killed%s (begun on %s, %s); it is of no use here: "
            "remove it to free the disk",
            one.path, f", {one.job}" if one.job else "", one.host, one.since,
        )  # fmt: skip


def _matching(
    folder: Path, headers: Sequence[MrcHeader], pieces: list[Piece]
) -> dict[int, Copied]:
    """Find the pieces that a folder holds as its manifests say, by index."""
    copied: dict[Key, Copied] = read_manifests(folder)
    found = {}
    for i, piece in enumerate(pieces):
        one = copied.get(key_of(piece, headers[piece.stack]))
        if one is not None and piece.is_within(one.runs):
            found[i] = one
    return found


def _unchanged(
    headers: Sequence[MrcHeader], pieces: list[Piece], copied: dict[int, Copied]
) -> dict[int, Copied]:
    """Leave out what was copied of stacks that are others now."""
    stacks = sorted({pieces[i].stack for i in copied})
    with ThreadPoolExecutor(_N_THREADS) as pool:
        now = dict(zip(stacks, pool.map(lambda s: _state(headers[s].path), stacks), strict=True))
    return {
        i: one for i, one in copied.items() if (one.size, one.mtime_ns) == now[pieces[i].stack]
    }


def _state(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns
