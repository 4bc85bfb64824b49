"""One line per iteration for the person who watches."""

from __future__ import annotations

import logging
import textwrap
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from relion_mpi.model.state import Model
    from relion_mpi.model.statistics import Statistics
    from relion_mpi.refine.schedule import BaseSchedule, Changes

log = logging.getLogger(__name__)

HEADER = (
    "iter  resol  size  angle  offset  local   Pmax  acc.rot acc.trans  signif slices |"
    "   read E-step reduce M-step  write  total\n"
    "          A   pix    deg       A    deg              deg         A    mean   mean |"
    "      s      s      s      s      s      s"
)
REPEAT_HEADER_EVERY = 20
_WIDTH = 100


class IterationTable:
    """Prints the table of iterations, its header now and then."""

    def __init__(self) -> None:
        self._n_lines = 0

    def line(
        self,
        iteration: int,
        model: Model,
        schedule: BaseSchedule,
        statistics: list[Statistics],
        seconds: Mapping[str, float],
        ranks: Mapping[int, Mapping[str, float]],
    ) -> None:
        """Log one iteration.

        Parameters
        ----------
        iteration
            Number.
        model, schedule
            After the iteration.
        statistics
            Sums of each half-set.
        seconds
            Per stage on the master.
        ranks
            Per worker, from `Crew.timings`.
        """
        if self._n_lines % REPEAT_HEADER_EVERY == 0:
            log.info("%s", HEADER)
        self._n_lines += 1
        n = sum(s.n_particles for s in statistics)
        slices = sum(s.totals[5] for s in statistics) / n
        significant = sum(s.totals[6] for s in statistics) / n
        read = max((r.get("prepare_wait", 0.0) for r in ranks.values()), default=0.0)
        local = schedule.local_sigma_deg
        log.info(
            "%4d %6.2f %5d %6.3g %7.3g %6s %6.3f %8.3g %9.3g %7.1f %6.1f | %6.2f %6.2f %6.2f "
            "%6.2f %6.2f %6.1f",
            iteration,
            1.0 / max(model.current_resolution, 1e-9),
            model.current_size,
            schedule.fine_step_deg,
            schedule.fine_offset_step_angst,
            "-" if local is None else f"{local:.3g}",
            float(np.mean([h.ave_pmax for h in model.halves])),
            model.accuracy.best_rotation_deg,
            model.accuracy.best_translation_angst,
            significant,
            slices,
            read,
            seconds.get("E-step", 0.0) - read,
            seconds.get("reduce", 0.0),
            seconds.get("M-step", 0.0),
            seconds.get("write", 0.0),
            seconds.get("total", 0.0),
        )
        if model.n_class > 1:
            log.info("%s", class_line(model.halves[0].pdf_class, schedule.changes))


def class_line(shares: NDArray[np.float64], changes: Changes | None) -> str:
    """Say how large classes are and how many particles went from one to another.

    Parameters
    ----------
    shares : float64 (n_class,)
        Of the particles.
    changes
        Since the iteration before; None where there was none.

    Returns
    -------
    str
        Lines of the log.
    """
    sizes = " ".join(f"{100 * share:.1f}" for share in shares)
    moved = "" if changes is None else f", changed {100 * changes.classes:.1f} %"
    return textwrap.fill(
        f"     classes {sizes} %{moved}", _WIDTH, subsequent_indent=" " * len("     classes ")
    )
