"""`relion-mpi map`: operations on one map."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relion_mpi.maps.map_options import MapOptions as Options
from relion_mpi.maps.map_program import change_map
from relion_mpi.parallel import comm

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SUMMARY", "Options", "run", "spelt"]

SUMMARY = "filter, scale, shift, turn or symmetrise a map"


def spelt(words: Sequence[str]) -> list[str]:
    """Understand `--flip_hand` as RELION's `--invert_hand`.

    Parameters
    ----------
    words
        Words after the command.

    Returns
    -------
    list of str
        The same with RELION's name.
    """
    return ["--invert_hand" if word in ("--flip_hand", "--flip-hand") else word for word in words]


def run(options: Options) -> int:
    """Work on rank 0; there is nothing to share out.

    Parameters
    ----------
    options
        What was asked for.

    Returns
    -------
    int
        Exit status 0.

    Raises
    ------
    InputError
        Files cannot be read or written, or options do not fit the map.
    """
    if comm.world().rank == 0:
        change_map(options)
    return 0
