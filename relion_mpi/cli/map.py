"""`relion-mpi map`: operations on one map."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relion_mpi.cli.alone import on_rank_0
from relion_mpi.maps.map_options import MapOptions as Options
from relion_mpi.maps.map_program import change_map

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


run = on_rank_0(change_map)
