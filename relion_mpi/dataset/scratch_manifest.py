"""What a folder on a scratch disk holds: a line of JSON for each piece that was copied.

Every rank that copies has a file of its own, so that none waits for another; a line is written once
its piece is, so that an interrupted copy is as good as its lines.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, NamedTuple, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from relion_mpi.dataset.scratch_pieces import Piece, Runs
    from relion_mpi.io.mrc import MrcHeader

_PATTERN = "manifest_*.jsonl"


class Copied(NamedTuple):
    """A piece that is on the disk: images, checksum, and what the stack was like."""

    runs: Runs
    checksum: int
    size: int
    mtime_ns: int


Key = tuple[str, int, int, int]
"""Path of a stack, where its data begin, bytes of an image, and number of the piece."""


def key_of(piece: Piece, header: MrcHeader) -> Key:
    """Return what a piece is found by in manifests of other jobs.

    Parameters
    ----------
    piece
        Of this job.
    header
        Of its stack.
    """
    return str(header.path), header.data_offset, header.image_bytes, piece.block


class ManifestWriter:
    """Adds lines; threads take turns with a lock of their own.

    Parameters
    ----------
    folder
        On the scratch disk.
    name
        Of this writer, different from all others'.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / _PATTERN.replace("*", name)
        self._file: TextIO | None = None

    def add(self, key: Key, copied: Copied) -> None:
        """Add the line of a piece.

        Parameters
        ----------
        key
            Of the piece.
        copied
            What was copied.

        Raises
        ------
        OSError
            It cannot be written.
        """
        if self._file is None:
            self._file = self._path.open("a", encoding="utf-8")
        self._file.write(json.dumps([*key, *copied]) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file, if there is one; a line that has no room any more is not missed."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_manifests(folder: Path) -> dict[Key, Copied]:
    """Read what was copied to a folder; of a piece that was copied twice the later line counts.

    Parameters
    ----------
    folder
        On the scratch disk.

    Returns
    -------
    dict
        Lines that cannot be read, such as a last one that was cut off, are left out.
    """
    found: dict[Key, Copied] = {}
    for path in _by_age(folder.glob(_PATTERN)):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                name, offset, image_bytes, block, runs, checksum, size, mtime_ns = json.loads(line)
                key = (str(name), int(offset), int(image_bytes), int(block))
                pairs = [(int(start), int(stop)) for start, stop in runs]
                found[key] = Copied(pairs, int(checksum), int(size), int(mtime_ns))
            except (ValueError, TypeError):
                continue
    return found


def _by_age(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: path.stat().st_mtime_ns)
