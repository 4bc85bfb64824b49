"""What a user may name: a run, a particle table or a map."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.core.errors import InputError
from relion_mpi.io.mrc import read_map

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_ITERATION = re.compile(r"_it(\d{3,})_data\.star$")


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two things compared.

    Attributes
    ----------
    name : as the user gave it
    table : particle table, or None
    maps : one entry a class; an entry of two files is a pair of half maps, to be averaged
    """

    name: str
    table: Path | None
    maps: tuple[tuple[Path, ...], ...]


def find_side(given: Path) -> Side:
    """Find the files of a run root, a STAR file, a map or a folder.

    Parameters
    ----------
    given
        `run` (the last iteration or the finished run), `run_it012`, `run_data.star`, `truth.star`,
        `map.mrc`, or a folder that holds `run*` or `truth.star`.

    Returns
    -------
    Side

    Raises
    ------
    InputError
        There are no such files; says what was looked for.
    """
    name = str(given)
    if given.suffix in {".mrc", ".map", ".ccp4"}:
        return Side(name, None, ((given,),))
    if given.suffix == ".star":
        root = given.name.removesuffix("_data.star")
        maps = _class_maps(given.parent / root) if root != given.name else ()
        if given.name == "truth.star":
            maps = tuple((path,) for path in sorted(given.parent.glob("truth_class*.mrc")))
        return Side(name, given, maps)
    if given.is_dir():
        if (given / "truth.star").is_file():
            return _named(name, find_side(given / "truth.star"))
        return _named(name, find_side(given / "run"))
    table = _last_table(given)
    maps = _class_maps(given)
    if table is None and not maps:
        raise InputError(
            f"{given}: found neither {given.name}_data.star nor {given.name}_itNNN_data.star nor "
            f"{given.name}_class001.mrc; expected a run root, a STAR file or a map (.mrc)"
        )
    if table is not None and not maps:
        maps = find_side(table).maps
    return Side(name, table, maps)


def read_class_map(files: tuple[Path, ...]) -> tuple[NDArray[np.float32], float]:
    """Read the map of a class, the mean of its half maps if there are two.

    Parameters
    ----------
    files
        One or two files.

    Returns
    -------
    volume : float32 (n, n, n)
    pixel_size_angst : float

    Raises
    ------
    InputError
        A file cannot be read, is no cube, or the halves differ in size.
    """
    volumes, sizes = zip(*(read_map(path) for path in files), strict=True)
    for path, volume in zip(files, volumes, strict=True):
        if len(set(volume.shape)) != 1 or volume.shape != volumes[0].shape:
            raise InputError(
                f"{path}: found {volume.shape[2]} x {volume.shape[1]} x {volume.shape[0]} voxels, "
                f"expected a cube of {volumes[0].shape[0]}"
            )
    return np.mean(volumes, axis=0, dtype=np.float32), float(sizes[0])


def _named(name: str, side: Side) -> Side:
    return Side(name, side.table, side.maps)


def _last_table(root: Path) -> Path | None:
    final = root.with_name(f"{root.name}_data.star")
    if final.is_file():
        return final
    found = {
        int(match[1]): path
        for path in root.parent.glob(f"{root.name}_it*_data.star")
        if (match := _ITERATION.search(path.name))
    }
    return found[max(found)] if found else None


def _class_maps(root: Path) -> tuple[tuple[Path, ...], ...]:
    whole = sorted(root.parent.glob(f"{root.name}_class[0-9][0-9][0-9].mrc"))
    if whole:
        return tuple((path,) for path in whole)
    halves = [
        sorted(root.parent.glob(f"{root.name}_half{half}_class[0-9][0-9][0-9].mrc"))
        for half in (1, 2)
    ]
    if halves[0] and len(halves[0]) == len(halves[1]):
        return tuple(zip(*halves, strict=True))
    return ()
