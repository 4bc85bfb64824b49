"""Seconds spent in named spans, and other things that add up."""

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

    def take(self) -> dict[str, float]:
        """Return the seconds of every span so far, and forget them.

        Returns
        -------
        dict
            Seconds by name.
        """
        with self._lock:
            taken, self._seconds = self._seconds, {}
            return taken

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


class Account(Stopwatch):
    """What one rank did: seconds, bytes, tasks. Names say which."""

    def count(self, name: str, n: float = 1) -> None:
        """Add `n` to `name`.

        Parameters
        ----------
        name
            What is counted, for example "bytes_sent".
        n
            How many.
        """
        self.add(name, n)
