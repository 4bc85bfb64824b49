"""Large temporary arrays in two pieces of memory that are kept, so that its use is known."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import cupy as cp
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relion_mpi.backend.limits import Limits

    Wanted = tuple[Sequence[int], Any]

_ALIGNMENT = 512


class Scratch:
    """Temporary arrays of one thread.

    Parameters
    ----------
    limits
        Size of both pieces; one that is too small for a single image grows.
    """

    def __init__(self, limits: Limits) -> None:
        self._sizes = {"scores": limits.score_bytes, "slices": limits.slice_bytes}
        self._pieces: dict[str, Any] = {}

    def arrays(self, piece: str, *wanted: Wanted) -> list[Any]:
        """Return uninitialised arrays; those returned before for this piece are no longer valid.

        Parameters
        ----------
        piece
            "scores" or "slices".
        wanted
            Shape and dtype of each.
        """
        starts, total = [], 0
        for shape, dtype in wanted:
            starts.append(total)
            n_bytes = prod(int(n) for n in shape) * np.dtype(dtype).itemsize
            total += -(-n_bytes // _ALIGNMENT) * _ALIGNMENT
        memory = self._piece(piece, total).data
        return [
            cp.ndarray(tuple(int(n) for n in shape), dtype, memptr=memory + start)
            for start, (shape, dtype) in zip(starts, wanted, strict=True)
        ]

    def reserve(self) -> None:
        """Take the memory now rather than when it is first needed."""
        for piece in self._sizes:
            self._piece(piece, 0)

    def clear(self) -> None:
        """Give the memory back; no thread may be using it."""
        self._pieces.clear()

    def _piece(self, name: str, n_bytes: int) -> Any:
        held = self._pieces.get(name)
        if held is None or held.nbytes < n_bytes:
            self._pieces.pop(name, None)
            held = None  # the old one goes before the new one comes
            self._sizes[name] = max(self._sizes[name], n_bytes)
            held = self._pieces[name] = cp.empty(self._sizes[name], np.uint8)
        return held
