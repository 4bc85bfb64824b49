"""What master and workers say to each other."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np


COMMAND_BYTES = "command_bytes"
"""Name under which a worker counts what the master sent to it alone, which the master does not."""


class Tag(IntEnum):
    """Direction of a message."""

    COMMAND = 1  # master to worker
    RESULT = 2  # worker to master
    ALIVE = 3  # worker to master


class ArrayHeader(NamedTuple):
    """An array that follows by broadcast."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Begin(NamedTuple):
    """A pickled message of `n_bytes` and arrays follow by broadcast.

    The same number comes again if a rank was lost meanwhile; who has begun then only listens.
    """

    number: int
    n_bytes: int
    headers: tuple[ArrayHeader, ...]


class Task(NamedTuple):
    """Do this and send a Result with the same number."""

    number: int
    task: Any


class Reduce(NamedTuple):
    """Reductions of `Worker.sums` follow, one array after the other.

    The same number comes again if a rank was lost meanwhile, and the same sums are sent again.
    """

    number: int
    shapes: tuple[tuple[int, ...], ...]


class Tell(NamedTuple):
    """A gathering of accounts follows."""


class Taken(NamedTuple):
    """The master has the sums: they need not be kept any longer."""


class Close(NamedTuple):
    """Leave the loop."""


class Result(NamedTuple):
    """A finished task and the seconds it took by span."""

    number: int
    value: Any
    seconds: dict[str, float]


class Here(NamedTuple):
    """What a worker says after a rank was lost.

    Attributes
    ----------
    begun : number of the last `Begin` that it has done
    held : numbers of the tasks in hand
    results : its last ones, which may not have reached the master
    """

    begun: int
    held: tuple[int, ...]
    results: tuple[Result, ...]
