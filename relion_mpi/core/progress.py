"""One line that tells how far a long loop is."""

from __future__ import annotations

import logging
import sys
import time
from typing import Self

log = logging.getLogger(__name__)

_BAR_WIDTH = 30
_REDRAW_SECONDS = 0.2


class Progress:
    """Count items; draw a bar on a terminal, else write one log line at the end.

    Parameters
    ----------
    total
        Number of items expected.
    label
        What is counted, for example "Expectation, iteration 3".
    enabled
        False (ranks other than 0): count in silence.
    """

    def __init__(self, total: int, label: str, enabled: bool = True) -> None:
        self.total = total
        self.label = label
        self.done = 0
        self._enabled = enabled
        self._terminal = enabled and sys.stderr is not None and sys.stderr.isatty()
        self._start = time.monotonic()
        self._drawn = float("-inf")
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def update(self, n: int = 1) -> None:
        """Count `n` more items.

        Parameters
        ----------
        n
            Items finished since the last call.
        """
        self.done += n
        now = time.monotonic()
        if self._terminal and not self._closed and now - self._drawn >= _REDRAW_SECONDS:
            self._draw(now)

    def close(self) -> None:
        """Finish the line; further calls do nothing."""
        if self._closed:
            return
        now = time.monotonic()
        if self._terminal:
            self._draw(now)
            self._write("\n")
        elif self._enabled:
            seconds = now - self._start
            log.info("%s: %d of %d in %s", self.label, self.done, self.total, clock(seconds))
        self._closed = True

    def _draw(self, now: float) -> None:
        self._drawn = now
        fraction = min(self.done / self.total, 1.0) if self.total > 0 else 1.0
        filled = round(fraction * _BAR_WIDTH)
        bar = "#" * filled + "." * (_BAR_WIDTH - filled)
        seconds = max(now - self._start, 1e-9)
        rate = self.done / seconds
        left = clock((self.total - self.done) / rate) if rate > 0 else "--:--"
        tail = f"{clock(seconds)}" if fraction == 1.0 else f"{left} left"
        counts = f"{self.done}/{self.total}"
        # \x1b[K clears what a longer line left behind.
        self._write(f"\r{self.label} [{bar}] {counts} {rate:.1f}/s {tail}\x1b[K")

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError):
            # The terminal has gone; the run goes on.
            self._terminal = False


def clock(seconds: float) -> str:
    """Return `seconds` as `m:ss` or `h:mm:ss`.

    Parameters
    ----------
    seconds
        Duration in seconds, rounded to whole ones.

    Returns
    -------
    str
        For example "0:07" or "1:02:03".
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
