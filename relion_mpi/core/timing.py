"""Seconds spent in named spans."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Stopwatch:
    """Add up wall seconds under names; may be shared by threads."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Add the seconds of the block to `name`, also when the block raises.

        Parameters
        ----------
        name
            What is being timed. Spans may nest; a nested span counts in both names.
        """
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        """Add `seconds` measured elsewhere to `name`.

        Parameters
        ----------
        name
            Span to add to.
        seconds
            Wall seconds.
        """
        with self._lock:
            self._seconds[name] = self._seconds.get(name, 0.0) + seconds

    def as_dict(self) -> dict[str, float]:
        """Return the seconds of every span so far, in order of first use.

        Returns
        -------
        dict
            Seconds by name; a copy.
        """
        with self._lock:
            return dict(self._seconds)

    def clear(self) -> None:
        """Forget all spans."""
        with self._lock:
            self._seconds.clear()
