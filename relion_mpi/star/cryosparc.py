"""Particles of cryoSPARC: .cs files, which are structured arrays of numpy."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

log = logging.getLogger(__name__)

_UID = "uid"


class CsParticles:
    """Fields of particles, of one file and of others that say more about the same particles.

    Parameters
    ----------
    paths
        The particles; then their passthrough files.

    Raises
    ------
    InputError
        A file cannot be read or lacks particles of the first.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.path = paths[0]
        records = _read(paths[0])
        self._fields: dict[str, NDArray[Any]] = {
            name: records[name] for name in records.dtype.names or ()
        }
        self.n_rows = len(records)
        self._used = {_UID}
        for path in paths[1:]:
            self._add(path)

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def names(self) -> list[str]:
        """Return the names of all fields."""
        return list(self._fields)

    def field(self, name: str) -> NDArray[Any]:
        """Return a field of all particles.

        Raises
        ------
        InputError
            There is none.
        """
        if name not in self._fields:
            raise InputError(
                f"{self.path}: found no field {name}, expected it there or in a passthrough file; "
                "give that file after it, for example --i particles.cs passthrough_particles.cs"
            )
        self._used.add(name)
        return self._fields[name]

    def text(self, name: str) -> NDArray[np.str_]:
        """Return a field of text; cryoSPARC's mark of a link, '>', is dropped."""
        raw = self.field(name)
        words = np.char.decode(raw, "utf-8") if raw.dtype.kind == "S" else raw.astype(str)
        return np.char.lstrip(words, ">")

    def unused(self) -> list[str]:
        """Return the names of fields that nobody has asked for."""
        return [name for name in self._fields if name not in self._used]

    def _add(self, path: Path) -> None:
        records = _read(path)
        new = [name for name in records.dtype.names or () if name not in self._fields]
        ours = self._fields.get(_UID)
        if ours is None or _UID not in (records.dtype.names or ()):
            raise InputError(
                f"{path}: found no field {_UID} in it or in {self.path}, expected it in both, for "
                "it tells which particle is which"
            )
        order = np.argsort(records[_UID], kind="stable")
        sorted_uid = records[_UID][order]
        at = np.minimum(np.searchsorted(sorted_uid, ours), max(len(records) - 1, 0))
        missing = np.ones(len(ours), np.bool_) if not len(records) else sorted_uid[at] != ours
        if missing.any():
            raise InputError(
                f"{path}: found {int(missing.sum())} of {len(ours)} particles of {self.path} "
                f"missing (the first is row {int(np.argmax(missing)) + 1}, uid "
                f"{ours[np.argmax(missing)]}), expected all; choose the passthrough file of the "
                "same job"
            )
        for name in new:
            self._fields[name] = records[name][order[at]]


def _read(path: Path) -> NDArray[Any]:
    try:
        records = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file; check the name") from error
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"{path}: found no array of numpy, or a broken one, expected a .cs file of cryoSPARC"
        ) from error
    if not isinstance(records, np.ndarray) or records.dtype.names is None or records.ndim != 1:
        raise InputError(f"{path}: found no table of particles, expected a .cs file of cryoSPARC")
    if not len(records):
        raise InputError(f"{path}: found no particle, expected one or more")
    return records
