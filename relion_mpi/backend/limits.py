"""How much memory a backend may use for what it need not keep."""

from __future__ import annotations

from dataclasses import dataclass

TILE = 4096
"""Coarse orientations of a GPU that are sliced and multiplied at a time."""
SMALLEST_BYTES = 2**26
"""No limit is set below this."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes of the large temporary arrays of a GPU backend; taken when it begins, then kept.

    Attributes
    ----------
    score_bytes : scores of a group of images, for each thread that works
    slice_bytes : slices between being drawn and being multiplied, for each thread that works
    tile_bytes : coarse slices kept for all batches, for each half-set; those without room are drawn
        again for each batch
    """

    score_bytes: int = 2**31
    slice_bytes: int = 2**30
    tile_bytes: int = 2**32

    def images_at_once(self, n_hyp: int, n_shift: int, itemsize: int) -> int:
        """Count the images whose coarse scores fit in score_bytes, at least one."""
        return int(max(1, self.score_bytes // image_score_bytes(n_hyp, n_shift, itemsize)))


def image_score_bytes(n_hyp: int, n_shift: int, itemsize: int) -> int:
    """Bytes of an image's coarse scores: cross and power terms, bits of shifts and a flag."""
    return n_hyp * ((n_shift + 1) * itemsize + 4 * ((n_shift + 31) // 32) + 1)


def coarse_slice_bytes(n_coarse: int, itemsize: int) -> int:
    """Bytes of a coarse slice: complex pixels and their power."""
    return 3 * n_coarse * itemsize
