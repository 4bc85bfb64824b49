"""Rows of STAR loops as bytes: one blank between values, no comments, quotes folded away."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

# Stand in for a blank inside quotes and for a quoted empty value while rows are split at blanks;
# DEL cannot occur in a sane file, and sorts above the blank as text does.
HIDDEN_BLANK = b"\x7fb"
HIDDEN_EMPTY = b"\x7fe"
_QUOTED = re.compile(rb"(?<!\S)(?:\"([^\"\n]*)\"|'([^'\n]*)')(?!\S)")
_COMMENT_LINES = re.compile(rb"(?m)^[ \t]*#.*\n?")
# A chunk and its masks stay inside the processor's cache.
_CHUNK_BYTES = 1 << 18
_BLANKS = bytes.maketrans(b"\t\r\0", b"   ")
_BLANK, _NEWLINE = 32, 10


class CanonicalRows(NamedTuple):
    """Rows ready for a CSV parser."""

    rows: bytes
    n_separators: int  # blanks and line ends: rows x columns if the table is regular
    quoted: bool  # values were folded by hide_quoted


def hide_quoted(rows: bytes) -> bytes:
    """Unquote values, with blanks inside replaced by a control character.

    Parameters
    ----------
    rows
        Text of one or more lines.

    Returns
    -------
    bytes
        The same lines, every value free of blanks; undo with `reveal`.
    """

    def fold(match: re.Match[bytes]) -> bytes:
        inside = match[1] if match[1] is not None else match[2]
        return re.sub(rb"\s", HIDDEN_BLANK, inside) or HIDDEN_EMPTY

    return _QUOTED.sub(fold, rows)


def reveal(value: str) -> str:
    """Return the value that `hide_quoted` folded."""
    return value.replace(HIDDEN_EMPTY.decode(), "").replace(HIDDEN_BLANK.decode(), " ")


def split_row(row: bytes) -> list[str]:
    """Split one line at blanks, honouring quotes.

    Parameters
    ----------
    row
        One line without its end.

    Returns
    -------
    list of str
        The values, without their quotes.
    """
    if b'"' in row or b"'" in row:
        return [reveal(value.decode()) for value in hide_quoted(row).split()]
    return row.decode().split()


def content_lines(text: bytes, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, line) for the lines of `text[start:end]` that hold something.

    Parameters
    ----------
    text
        A whole file.
    start, end
        Offsets of the part wanted; `start` is the beginning of a line.

    Yields
    ------
    tuple of int and bytes
        Offset of the line's first byte and the line, stripped; without empty and comment lines.
    """
    while start < end:
        stop = text.find(b"\n", start, end)
        stop = end if stop < 0 else stop
        line = text[start:stop].strip()
        if line and not line.startswith(b"#"):
            yield start, line
        start = stop + 1


def canonical_rows(text: bytes, start: int, end: int) -> CanonicalRows:
    """Bring rows to the form that a CSV parser with a blank as separator reads.

    Parameters
    ----------
    text
        A whole file.
    start, end
        Offsets of the lines below the labels of a loop, up to the next block.

    Returns
    -------
    CanonicalRows
        The rows: one blank between values, none at either end, no empty or comment lines.
    """
    # BytesIO grows in place and hands its bytes over uncopied; a list and a join touch twice the
    # memory, which costs more than the parsing does.
    rows = io.BytesIO()
    quoted, n_separators = False, 0
    while start < end:
        stop = text.find(b"\n", min(start + _CHUNK_BYTES, end), end) + 1 or end
        chunk = text[start:stop]
        if b"#" in chunk:
            chunk = _COMMENT_LINES.sub(b"", chunk)
        if b'"' in chunk or b"'" in chunk:
            chunk = hide_quoted(chunk)
            quoted = True
        chunk, n_chunk = _collapse_blanks(chunk)
        rows.write(chunk)
        n_separators += n_chunk
        start = stop
    return CanonicalRows(rows.getvalue(), n_separators, quoted)


def _collapse_blanks(lines: bytes) -> tuple[bytes, int]:
    """Return whole lines without empty ones, leading, trailing and repeated blanks; count gaps."""
    if b"\t" in lines or b"\r" in lines:
        lines = lines.translate(_BLANKS)
    if not lines.endswith(b"\n"):
        lines += b"\n"
    characters = np.frombuffer(lines, np.uint8)
    text = characters > _BLANK
    # Keep text and the first separator behind it.
    keep = text.copy()
    keep[1:] |= text[:-1]
    n_separators = int(np.count_nonzero(keep) - np.count_nonzero(text))
    newlines = np.flatnonzero(characters == _NEWLINE)
    trailing = newlines[1 if newlines[0] == 0 else 0 :] - 1
    trailing = trailing[characters[trailing] == _BLANK]
    if keep.all() and trailing.size == 0:
        return lines, n_separators
    characters = characters.copy()
    while trailing.size:  # a run that ends a line is a newline from its first blank on
        characters[trailing] = _NEWLINE
        trailing = trailing[trailing > 0] - 1
        trailing = trailing[characters[trailing] == _BLANK]
    # Marking and deleting one byte value is faster than a boolean index.
    characters *= keep.view(np.uint8)
    return characters.tobytes().translate(None, b"\0"), n_separators
