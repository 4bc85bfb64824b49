"""Copying a piece to a scratch disk, and reading it back."""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING

from relion_mpi.core.errors import InputError
from relion_mpi.dataset.scratch_pieces import PIECE_BYTES, byte_ranges, copy_name, file_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from relion_mpi.dataset.scratch_pieces import Runs
    from relion_mpi.io.mrc import MrcHeader


class ChangedError(OSError):
    """A copy is not what was written."""


def copy_piece(header: MrcHeader, runs: Runs, folder: Path) -> tuple[int, int, int]:
    """Copy images as they are stored, to the same place in the stack's copy.

    Parameters
    ----------
    header
        Of the stack.
    runs
        Which images, as in `relion_mpi.dataset.scratch_pieces.Piece`.
    folder
        Of the copies.

    Returns
    -------
    checksum : int
        Of the bytes that were read.
    size, mtime_ns : int
        Of the stack.

    Raises
    ------
    InputError
        The stack is gone, cannot be read, or is shorter than its header said.
    OSError
        The copy cannot be written.
    """
    try:
        source = os.open(header.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(header, error) from error
    checksum = 0
    try:
        target = os.open(folder / copy_name(header.path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        try:
            os.truncate(target, file_bytes(header))
            for first, behind in byte_ranges(runs, header):
                for offset in range(first, behind, PIECE_BYTES):
                    part = _read(header, source, offset, min(PIECE_BYTES, behind - offset))
                    checksum = zlib.crc32(part, checksum)
                    _write(target, part, offset)
        finally:
            os.close(target)  # some file systems tell only here that they are full
        found = os.fstat(source)
        return checksum, found.st_size, found.st_mtime_ns
    finally:
        os.close(source)


def check_piece(header: MrcHeader, runs: Runs, folder: Path, checksum: int) -> None:
    """Read a copied piece back from the disk and compare its checksum.

    Parameters
    ----------
    header, runs, folder
        As in `copy_piece`.
    checksum
        That it returned.

    Raises
    ------
    OSError
        The copy cannot be read, or is another.
    """
    path = folder / copy_name(header.path)
    copied = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fdatasync(copied)
        found = 0
        for first, behind in byte_ranges(runs, header):
            # What the system still has in memory says nothing of the disk.
            os.posix_fadvise(copied, first, behind - first, os.POSIX_FADV_DONTNEED)
            for offset in range(first, behind, PIECE_BYTES):
                size = min(PIECE_BYTES, behind - offset)
                part = os.pread(copied, size, offset)
                if len(part) != size:
                    raise ChangedError(f"{path} ends at byte {offset + len(part)}")
                found = zlib.crc32(part, found)
    finally:
        os.close(copied)
    if found != checksum:
        raise ChangedError(f"{path} has other bytes than were written")


def _read(header: MrcHeader, source: int, offset: int, size: int) -> bytes:
    parts: list[bytes] = []
    while size > 0:
        try:
            part = os.pread(source, size, offset)
        except OSError as error:
            raise _unreadable(header, error) from error
        if not part:
            raise InputError(
                f"{header.path}: the file ends at byte {offset}, expected {header.nz} images; it "
                "changed after the run began: put the original back"
            )
        parts.append(part)
        offset, size = offset + len(part), size - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _write(target: int, part: bytes, offset: int) -> None:
    view = memoryview(part)
    while view:
        n_bytes = os.pwrite(target, view, offset)
        view, offset = view[n_bytes:], offset + n_bytes


def _unreadable(header: MrcHeader, error: OSError) -> InputError:
    return InputError(
        f"{header.path}: the stack was there when the run began and cannot be read now "
        f"({error.strerror}); put it back and start the run again"
    )
