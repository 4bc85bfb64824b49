"""What the C library keeps of freed arrays."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any


def give_back() -> None:
    """Return to the system what was freed.

    glibc keeps freed arrays below 32 MiB for the next ones: 64 MiB in each thread, or all that lies
    below anything still in use. What follows may be another thread's, and of other sizes. Where
    the C library has no `malloc_trim` nothing is done.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
