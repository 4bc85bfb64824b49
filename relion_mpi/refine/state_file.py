"""HDF5 files of arrays and of what JSON can say, with one checksum over both."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from relion_mpi.io.atomic import replacing
from relion_mpi.refine.late_errors import LateErrors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]


DIGEST_THREADS, DIGEST_BYTES = 4, 2**26
"""Threads that take checksums, and bytes that each takes at a time."""


class BrokenFileError(Exception):
    """The file is not what was written; the message says in which way."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file holds.

    Attributes
    ----------
    format : of the file's layout
    sha256 : checksum written with it
    about : what is not arrays
    arrays : by name; none if they were not asked for
    """

    format: int
    sha256: str
    about: dict[str, Any]
    arrays: dict[str, Any]


def write_checked(path: Path, version: int, about: Mapping[str, Any], arrays: Arrays) -> None:
    """Write a file, whole or not at all.

    Parameters
    ----------
    path
        File.
    version
        Of the layout.
    about
        What JSON can say.
    arrays
        By name; written as they are.

    Raises
    ------
    OSError
        It cannot be written.
    """
    text = json.dumps(about)
    with replacing(path) as temporary, open(temporary, "w+b", buffering=0) as raw:
        target = LateErrors(raw)
        with h5py.File(target, "w") as file:
            file.attrs["format"] = version
            file.attrs["sha256"] = _digest(text, arrays)
            file["about"] = text
            for name, array in arrays.items():
                file[name] = array
        if target.error is not None:
            raise target.error


def read_checked(path: Path, *, with_arrays: bool) -> Contents:
    """Read a file; the checksum is compared if its arrays are wanted.

    Parameters
    ----------
    path
        File that `write_checked` wrote.
    with_arrays
        Without them it is quick.

    Returns
    -------
    Contents
        As written.

    Raises
    ------
    BrokenFileError
        It cannot be read, or has another checksum.
    """
    arrays: dict[str, Any] = {}

    def take(name: str, item: Any) -> None:
        if name != "about" and isinstance(item, h5py.Dataset):
            arrays[name] = item[()]

    try:
        with h5py.File(path, "r", locking=False) as file:
            version = int(file.attrs["format"])
            text, written = file["about"][()].decode(), str(file.attrs["sha256"])
            if with_arrays:
                file.visititems(take)
        about = json.loads(text)
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise BrokenFileError(f"it cannot be read ({error})") from error
    if with_arrays and _digest(text, arrays) != written:
        raise BrokenFileError("its content does not have the checksum written with it")
    return Contents(version, written, about, arrays)


def _digest(text: str, arrays: Arrays) -> str:
    """Take the checksum of the text, of arrays' names and types, and of their parts' checksums."""
    made = hashlib.sha256(text.encode())
    with ThreadPoolExecutor(DIGEST_THREADS) as threads:
        for name in sorted(arrays):
            array = np.ascontiguousarray(arrays[name])
            made.update(f"{name} {array.dtype.str} {np.shape(arrays[name])}".encode())
            content = array.reshape(-1).view(np.uint8).data
            parts = [content[k : k + DIGEST_BYTES] for k in range(0, len(content), DIGEST_BYTES)]
            for digest in threads.map(lambda part: hashlib.sha256(part).digest(), parts):
                made.update(digest)
    return made.hexdigest()
