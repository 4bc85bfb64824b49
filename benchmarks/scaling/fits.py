"""Serial shares of scaling runs: Amdahl's for one job, Gustafson's for jobs that grow.

Sources: Amdahl 1967 (AFIPS 30, 483), Gustafson 1988 (Commun. ACM 31, 532).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import nnls

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Strong:
    """Seconds of one job on n workers: serial_s + parallel_s / n + doubling_s log2 n.

    Attributes
    ----------
    serial_s, parallel_s : what more workers leave, and what they share
    doubling_s : what every doubling adds, such as a tree of messages; None where it is not fitted
    residuals_s : measured less fitted, in the order of the runs
    """

    serial_s: float
    parallel_s: float
    doubling_s: float | None
    residuals_s: tuple[float, ...]

    @property
    def serial_share(self) -> float:
        """Share of one worker's time that more workers leave (Amdahl)."""
        return self.serial_s / (self.serial_s + self.parallel_s)

    def seconds(self, n: float) -> float:
        """Return the fitted seconds on `n` workers."""
        return self.serial_s + self.parallel_s / n + (self.doubling_s or 0.0) * float(np.log2(n))


@dataclass(frozen=True, slots=True)
class Weak:
    """Jobs that grow with their workers.

    Attributes
    ----------
    serial_share : s of the scaled speedup s + (1 - s) n (Gustafson), n in units of the fewest
    base_s, doubling_s : of seconds = base_s + doubling_s log2 n
    residuals_s : measured less the latter
    """

    serial_share: float
    base_s: float
    doubling_s: float
    residuals_s: tuple[float, ...]


def strong(workers: Sequence[int], seconds: Sequence[float]) -> Strong:
    """Fit runs of the same job; no term is negative.

    Parameters
    ----------
    workers, seconds
        Of at least two runs on different numbers of workers; from four numbers on, what every
        doubling adds is fitted as well.

    Raises
    ------
    ValueError
        There are fewer than two numbers of workers.
    """
    n, t = _checked(workers, seconds)
    columns = [np.ones_like(n), 1 / n]
    if np.unique(n).size > 3:
        columns.append(np.log2(n))
    matrix = np.stack(columns, axis=1)
    found, _ = nnls(matrix, t)
    doubling = float(found[2]) if len(columns) > 2 else None
    residuals = tuple((t - matrix @ found).tolist())
    return Strong(float(found[0]), float(found[1]), doubling, residuals)


def weak(workers: Sequence[int], seconds: Sequence[float]) -> Weak:
    """Fit runs with as many particles for each worker.

    Parameters
    ----------
    workers, seconds
        Of at least two runs on different numbers of workers.

    Raises
    ------
    ValueError
        There are fewer than two numbers of workers.
    """
    n, t = _checked(workers, seconds)
    first = np.argmin(n)
    more = n / n[first]
    speedup = more * t[first] / t
    share = np.sum((more - speedup) * (more - 1)) / np.sum((more - 1) ** 2)
    matrix = np.stack([np.ones_like(n), np.log2(more)], axis=1)
    found, _ = nnls(matrix, t)
    residuals = tuple((t - matrix @ found).tolist())
    return Weak(float(share), float(found[0]), float(found[1]), residuals)


def communication(workers: Sequence[int], seconds: Sequence[float]) -> tuple[float, float]:
    """Fit what was measured of messages: seconds with the fewest workers, and by doubling.

    Parameters
    ----------
    workers, seconds
        Of at least two runs on different numbers of workers.

    Raises
    ------
    ValueError
        There are fewer than two numbers of workers.
    """
    n, t = _checked(workers, seconds)
    found, _ = nnls(np.stack([np.ones_like(n), np.log2(n / n.min())], axis=1), t)
    return float(found[0]), float(found[1])


def _checked(workers, seconds):
    n, t = np.asarray(workers, float), np.asarray(seconds, float)
    if np.unique(n).size < 2:
        raise ValueError("a fit takes runs on at least two numbers of workers")
    return n, t
