"""Warnings and errors that a run told, where its output was kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LOGS = ("run.err", "run.out")
"""Where RELION's interface keeps standard error and output of a job."""
MOST_LINES, MOST_BYTES, LONGEST = 12, 1 << 20, 400
_SIGNS = ("warning", "error")


def read_messages(folder: Path) -> tuple[str, ...]:
    """Read the last warnings and errors of a job.

    Parameters
    ----------
    folder
        Of the job.

    Returns
    -------
    tuple of str
        Lines that speak of a warning or an error, each once, the last of them.
    """
    found: dict[str, None] = {}
    for name in LOGS:
        for line in _tail(folder / name):
            if any(sign in line.lower() for sign in _SIGNS):
                found[line.strip()[:LONGEST]] = None
    return tuple(found)[-MOST_LINES:]


def _tail(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - MOST_BYTES, 0))
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
