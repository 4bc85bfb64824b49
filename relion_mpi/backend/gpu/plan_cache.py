"""CuPy's cache of transforms' plans, each of which keeps its work space; one for each thread."""

from __future__ import annotations

import threading
import warnings
from typing import TYPE_CHECKING, Any

import cupy as cp

if TYPE_CHECKING:
    from collections.abc import Callable

_lock = threading.Lock()
"""Filters of warnings are the process's: one thread at a time may change them."""


def limit(n: int) -> None:
    """Let the calling thread keep so many plans."""
    _quietly(cp.fft.config.set_plan_cache_size, n)


def clear() -> None:
    """Forget the plans of the calling thread."""
    _quietly(cp.fft.config.clear_plan_cache)


def _quietly(call: Callable[..., Any], *arguments: Any) -> None:
    """Call what CuPy warns of as experimental, which says nothing to users."""
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        call(*arguments)
