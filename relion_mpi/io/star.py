"""STAR files as RELION reads and writes them: named blocks, each a loop or a list."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.io.atomic import replacing
from relion_mpi.io.labels import FLOAT_LABELS, TEXT_LABELS
from relion_mpi.io.star_rows import (
    HIDDEN_BLANK,
    HIDDEN_EMPTY,
    canonical_rows,
    content_lines,
    split_row,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence
    from typing import BinaryIO

ListBlock = dict[str, str]
Block = pl.DataFrame | dict[str, str] | dict[str, int] | dict[str, float]

_NEEDS_QUOTES = r"""[\s"']|^$|^(#|_|data_|loop_)"""


def read_star(path: str | os.PathLike[str]) -> dict[str, pl.DataFrame | ListBlock]:
    """Read every block of a STAR file.

    Parameters
    ----------
    path
        File of RELION 1.3 or later; CR LF, a byte order mark, tabs, comments and quotes are read.

    Returns
    -------
    dict
        Block name without `data_` -> DataFrame for a loop (Int64, Float64 or String columns), dict
        of str for a list. Labels stand without their leading underscore.

    Raises
    ------
    InputError
        Missing, empty or binary file, no block, a row with too few or too many values, a label or
        a block given twice.
    """
    path = Path(path)
    text = _text(path)
    blocks: dict[str, pl.DataFrame | ListBlock] = {}
    for name, start, end in _block_spans(text):
        if name in blocks:
            raise InputError(
                f"{path}, line {_line(text, start) - 1}: block 'data_{name}' occurs a second time; "
                "keep one of them"
            )
        blocks[name] = _read_block(path, text, start, end)
    if not blocks:
        raise InputError(
            f"{path}: no line 'data_...' was found; a STAR file with at least one block is expected"
        )
    return blocks


def write_star(
    path: str | os.PathLike[str],
    blocks: Mapping[str, Block],
    comments: Sequence[str] = (),
    version: int = 30001,
) -> None:
    """Write blocks in RELION's layout, whole or not at all.

    Parameters
    ----------
    path
        File to replace.
    blocks
        Block name without `data_` -> DataFrame (loop) or mapping of label to value (list), labels
        without underscore. Numbers are written in the fewest digits that read back the same.
    comments
        Lines for the head of the file, without `#`.
    version
        What RELION is told of the file: 30001, or 50001 for tables that only RELION 5 has.

    Raises
    ------
    ValueError
        A column holds nulls, or a text holds a line break.
    """
    with replacing(path) as temporary, temporary.open("wb") as handle:
        handle.write("".join(f"# {comment}\n" for comment in comments).encode())
        for name, block in blocks.items():
            handle.write(f"\n# version {version}\n\ndata_{name}\n\n".encode())
            if isinstance(block, pl.DataFrame):
                _write_loop(handle, block)
            else:
                _write_list(handle, block)


def _text(path: Path) -> bytes:
    try:
        text = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise InputError(
            f"{path}: a STAR file was expected, but there is no such file; check the name and the "
            "folder the program was started in"
        ) from error
    except OSError as error:
        raise InputError(
            f"{path}: the file cannot be read ({error.strerror}); check its permissions and links"
        ) from error
    text = text.removeprefix(b"\xef\xbb\xbf")
    if not text or text.isspace():
        raise InputError(f"{path}: the file is empty, expected a STAR file; write it again")
    if b"\0" in text[:4096]:
        raise InputError(
            f"{path}: the file is binary, expected a STAR file (text); is it a map or a stack?"
        )
    if not text.isascii():
        _refuse_undecodable(path, text)
    return text


def _refuse_undecodable(path: Path, text: bytes) -> None:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}, line {_line(text, error.start)}: byte 0x{text[error.start]:02x} is not UTF-8 "
            "text, expected a STAR file; if it is text, convert it with iconv -t UTF-8"
        ) from error


def _line(text: bytes, offset: int) -> int:
    return text.count(b"\n", 0, offset) + 1


def _block_spans(text: bytes) -> Iterator[tuple[str, int, int]]:
    """Yield (name, offset behind the data_ line, end) of every block."""
    found: list[tuple[str, int, int]] = []
    at = 0 if text.startswith(b"data_") else text.find(b"\ndata_") + 1
    while text.startswith(b"data_", at):
        stop = text.find(b"\n", at)
        stop = len(text) if stop < 0 else stop
        words = text[at:stop].split(b"#")[0].split()
        if len(words) == 1:  # else a row whose first value begins with "data_"
            found.append((words[0][5:].decode(), at, min(stop + 1, len(text))))
        at = text.find(b"\ndata_", stop) + 1
        if at == 0:
            break
    for index, (name, _, start) in enumerate(found):
        end = found[index + 1][1] if index + 1 < len(found) else len(text)
        yield name, start, end


def _read_block(path: Path, text: bytes, start: int, end: int) -> pl.DataFrame | ListBlock:
    for offset, line in content_lines(text, start, end):
        if line.split()[0] == b"loop_":
            return _read_loop(path, text, _next_line(text, offset), end)
        return _read_list(path, text, start, end)
    return {}


def _next_line(text: bytes, offset: int) -> int:
    stop = text.find(b"\n", offset)
    return len(text) if stop < 0 else stop + 1


def _read_list(path: Path, text: bytes, start: int, end: int) -> ListBlock:
    values: ListBlock = {}
    for offset, line in content_lines(text, start, end):
        words = split_row(line)
        if not words[0].startswith("_") or len(words) < 2:
            found = line.decode(errors="replace")[:80]
            raise InputError(
                f"{path}, line {_line(text, offset)}: found '{found}', "
                "expected '_label value'; put each loop under a data_ line of its own"
            )
        label = words[0][1:]
        _refuse_repeated(path, text, offset, label, values)
        values[label] = words[1]
    return values


def _read_loop(path: Path, text: bytes, start: int, end: int) -> pl.DataFrame:
    labels: dict[str, None] = {}
    rows_at = end
    for offset, line in content_lines(text, start, end):
        if not line.startswith(b"_"):
            rows_at = offset
            break
        label = line.split()[0][1:].decode()
        _refuse_repeated(path, text, offset, label, labels)
        labels[label] = None
    if not labels:
        raise InputError(
            f"{path}, line {_line(text, start)}: 'loop_' is not followed by labels; expected lines "
            "'_rlnLabel #1'"
        )
    table = canonical_rows(text, rows_at, end)
    names = list(labels)
    if not table.rows:
        return pl.DataFrame(schema={name: _dtype(name) or pl.String for name in names})
    frame = _parse_rows(table.rows, names)
    # Rows too short and too long may balance each other: the short ones end in a null.
    if (
        frame is None
        or frame.width != len(names)
        or table.n_separators != frame.height * frame.width
        or frame[names[-1]].null_count()
    ):
        raise _ragged(path, text, rows_at, end, len(names))
    return _reveal_text(frame) if table.quoted else frame


def _refuse_repeated(
    path: Path, text: bytes, offset: int, label: str, seen: Mapping[str, object]
) -> None:
    if label in seen:
        raise InputError(
            f"{path}, line {_line(text, offset)}: label '_{label}' occurs twice in one block; "
            "remove one of the two columns"
        )


def _dtype(label: str) -> type[pl.DataType] | None:
    if label in TEXT_LABELS:
        return pl.String
    return pl.Float64 if label in FLOAT_LABELS else None


def _parse_rows(rows: bytes, names: list[str]) -> pl.DataFrame | None:
    """Parse canonical rows, guessing types from the head first and from all rows if that fails.

    None means that the rows are of different lengths.
    """
    known = {name: dtype for name in names if (dtype := _dtype(name)) is not None}
    text = {name: dtype for name, dtype in known.items() if dtype is pl.String}
    guesses = ((known, 1000), (text, None), (dict.fromkeys(names, pl.String), 0))
    for overrides, n_rows in guesses:
        try:
            frame = _parse(rows, names, overrides, n_rows)
        except pl.exceptions.PolarsError:
            continue
        flags = [name for name in frame.columns if frame[name].dtype == pl.Boolean]
        if flags:  # the words true and false are text in a STAR file
            frame = _parse(rows, names, {**overrides, **dict.fromkeys(flags, pl.String)}, n_rows)
        return frame
    return None


def _parse(
    rows: bytes, names: list[str], overrides: Mapping[str, type[pl.DataType]], n_rows: int | None
) -> pl.DataFrame:
    return pl.read_csv(
        rows,
        has_header=False,
        separator=" ",
        quote_char=None,
        new_columns=names,
        schema_overrides=dict(overrides),
        infer_schema_length=n_rows,
    )


def _reveal_text(frame: pl.DataFrame) -> pl.DataFrame:
    text = pl.col(pl.String)
    return frame.with_columns(
        text.str.replace_all(HIDDEN_EMPTY.decode(), "", literal=True).str.replace_all(
            HIDDEN_BLANK.decode(), " ", literal=True
        )
    )


def _ragged(path: Path, text: bytes, start: int, end: int, n_columns: int) -> InputError:
    """Name the first row with a wrong number of values."""
    for offset, line in content_lines(text, start, end):
        first = line.split()[0]
        if first == b"loop_" or (first.startswith(b"_") and len(line.split()) <= 2 < n_columns):
            found = "a second loop in the same block"
            expected = "put each loop under a data_ line of its own"
        elif (n_found := len(split_row(line))) != n_columns:
            found = f"{n_found} values in a row"
            expected = f"expected {n_columns}, one for each label; complete the row or remove it"
        else:
            continue
        return InputError(f"{path}, line {_line(text, offset)}: found {found}; {expected}")
    return InputError(
        f"{path}, line {_line(text, start)}: a row in this table has not {n_columns} values; "
        "complete it or remove it"
    )


def _write_loop(handle: BinaryIO, frame: pl.DataFrame) -> None:
    lines = ["loop_ \n"]
    lines += [f"_{name} #{index} \n" for index, name in enumerate(frame.columns, start=1)]
    handle.write("".join(lines).encode())
    handle.flush()
    frame.select(_as_text(column) for column in frame.get_columns()).write_csv(
        handle,
        include_header=False,
        separator=" ",
        quote_style="never",
        # relion_star_printtable takes a line of one character for the end of the table
        line_terminator=" \n" if frame.width == 1 else "\n",
    )
    handle.write(b"\n")


def _as_text(column: pl.Series) -> pl.Series:
    """Return the column as it is to be written: no nulls, flags as 0/1, text quoted if it must."""
    if column.null_count():
        raise ValueError(f"column {column.name} holds {column.null_count()} nulls")
    if column.dtype == pl.Boolean:
        return column.cast(pl.Int8)
    if column.dtype != pl.String or not column.str.contains(_NEEDS_QUOTES).any():
        return column
    if column.str.contains("[\n\r]").any():
        raise ValueError(f"column {column.name} holds a line break")
    value = pl.col(column.name)
    quote = pl.when(value.str.contains('"', literal=True)).then(pl.lit("'")).otherwise(pl.lit('"'))
    quoted = pl.concat_str(quote, value, quote)
    needed = value.str.contains(_NEEDS_QUOTES)
    return (
        column.to_frame()
        .select(pl.when(needed).then(quoted).otherwise(value))[:, 0]
        .rename(column.name)
    )


def _write_list(handle: BinaryIO, block: Mapping[str, object]) -> None:
    width = max((len(label) for label in block), default=0) + 2
    labels = pl.Series("value", [_plain(value) for value in block.values()], dtype=pl.String)
    buffer = io.StringIO()
    for label, value in zip(block, _as_text(labels), strict=True):
        buffer.write(f"_{label:<{width}} {value:>16}\n")
    handle.write(buffer.getvalue().encode() + b"\n")


def _plain(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)
