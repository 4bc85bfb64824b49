"""How much faster more workers are: `python -m relion_mpi.cluster.scaling ROOT_w1 ROOT_w2 ...`."""

from __future__ import annotations

import json
import logging
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from relion_mpi.core.errors import InputError
from relion_mpi.core.log import setup_logging
from relion_mpi.refine.outputs.names import OutputNames

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger("relion_mpi.cluster.scaling")  # not __main__, which nobody shows

_PARTS = ("E-step", "reduce", "M-step")


@dataclass(frozen=True, slots=True)
class Timing:
    """Median seconds of an iteration.

    Attributes
    ----------
    n_workers : of the run
    total : of the iteration
    parts : by name
    """

    n_workers: int
    total: float
    parts: dict[str, float]


def read_timing(root: Path) -> Timing:
    """Read a run's times.

    Parameters
    ----------
    root
        Its --o, which ends with _w and the number of workers.

    Returns
    -------
    Timing
        Medians, without the first iteration where there are others: kernels may be compiled in it.

    Raises
    ------
    InputError
        The name has no number, or there are no times.
    """
    match = re.search(r"_w(\d+)$", root.name)
    if match is None:
        raise InputError(f"{root}: expected a root name that ends with _w and a number of workers")
    path = OutputNames(root, None).metrics()
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); did the run end?") from error
    times = [row["timings"] for row in rows if row.get("timings") and row.get("iteration")]
    if not times:
        raise InputError(f"{path}: found no iteration with times, expected at least one")
    times = times[1:] or times
    return Timing(
        int(match[1]), median(sum(time.values()) for time in times),
        {name: median(time.get(name, 0.0) for time in times) for name in _PARTS},
    )  # fmt: skip


def as_text(timings: Sequence[Timing]) -> str:
    """Lay out speed-up and efficiency, against the run with the fewest workers.

    Parameters
    ----------
    timings
        Of all runs.

    Returns
    -------
    str
        A table.
    """
    ordered = sorted(timings, key=lambda one: one.n_workers)
    first = ordered[0]
    names = ["workers", "iteration, s", *(f"{name}, s" for name in _PARTS)]
    names += ["speed-up", "efficiency"]
    rows = ["  ".join(f"{name:>12}" for name in names)]
    for one in ordered:
        faster = first.total / one.total
        cells = [f"{one.n_workers}", f"{one.total:.2f}"]
        cells += [f"{one.parts[name]:.2f}" for name in _PARTS]
        cells += [f"{faster:.2f}", f"{faster * first.n_workers / one.n_workers:.2f}"]
        rows.append("  ".join(f"{cell:>12}" for cell in cells))
    return "\n".join(rows)


def main(roots: Sequence[str]) -> int:
    """Print the table of some runs.

    Parameters
    ----------
    roots
        Their --o.

    Returns
    -------
    int
        Exit status.
    """
    setup_logging()
    try:
        log.info("%s", as_text([read_timing(Path(root)) for root in roots]))
    except InputError as error:
        log.error("relion-mpi: error: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
