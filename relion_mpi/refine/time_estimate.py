"""How long a refinement will take: measured seconds times an assumed course."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relion_mpi.refine.calibration import Rates

FIRST_ORDER, LATER_ORDER, LOCAL = 4, 2, 9
"""Iterations assumed of the first exhaustive order, of each further one, and of local searches, the
last iteration included: 15 with RELION's defaults."""
BROAD = 4
"""What the one before poses are known is worth of the others of the first order."""
START_SECONDS = 4.0
"""Starting programs and loading kernels."""
BELOW, ABOVE = 1.5, 2.0
"""Factors of the range: data decide how many iterations and samples there are."""


@dataclass(frozen=True, slots=True)
class TimeEstimate:
    """Seconds of a refinement to convergence.

    Attributes
    ----------
    seconds : likely
    n_iterations : assumed
    """

    seconds: float
    n_iterations: int

    def __str__(self) -> str:
        """Write it with its range."""
        low, high = self.seconds / BELOW, self.seconds * ABOVE
        return f"about {_words(self.seconds)} ({_words(low)} to {_words(high)})"


def estimate(n_particles: int, ranks: Sequence[Rates], mstep_seconds: float) -> TimeEstimate:
    """Estimate the time to convergence.

    Parameters
    ----------
    n_particles
        Of both half-sets.
    ranks
        What each rank at work measured, all at the same time.
    mstep_seconds
        Of an M-step on rank 0.

    Returns
    -------
    TimeEstimate
        For the course that the constants of this module say.
    """

    def together(seconds: list[float]) -> float:
        """All particles, each rank doing as many as it can."""
        return n_particles / sum(1.0 / max(one, 1e-9) for one in seconds)

    orders = [
        together([rates.exhaustive[i] for rates in ranks])
        for i in range(len(ranks[0].exhaustive))
    ]
    local = together([rates.local for rates in ranks])
    total, n = LOCAL * local, LOCAL
    if orders:
        total += (FIRST_ORDER - 1 + BROAD) * orders[0] + LATER_ORDER * sum(orders[1:])
        n += FIRST_ORDER + LATER_ORDER * (len(orders) - 1)
    total += n * mstep_seconds + START_SECONDS
    return TimeEstimate(total, n)


def rests_on(found: TimeEstimate) -> str:
    """Say what an estimate rests on.

    Parameters
    ----------
    found
        The estimate.
    """
    return (
        f"measured here just now with noise images, for {found.n_iterations} iterations; data "
        "decide how many there are, and how many samples are significant"
    )


def _words(seconds: float) -> str:
    """Write seconds, minutes or hours, two digits at most."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 36000 else f"{seconds / 3600:.0f} h"
