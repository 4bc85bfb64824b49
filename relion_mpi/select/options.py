"""What `relion-mpi select` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - options are made from the annotations

from relion_mpi.core.options import option

_WHICH = "Which classes; what is said must all hold"


@dataclass(frozen=True, slots=True)
class SelectOptions:
    """Options of a selection."""

    i: Path = option(help="run_itNNN_data.star or run_itNNN_optimiser.star of a classification")
    o: Path = option(help="particle STAR file to write")
    classes: str | None = option(
        None, help="numbers of classes from 1, for example 1,3 or 2-5", group=_WHICH
    )
    min_share: float = option(
        0.0, help="classes with at least this share of the particles, as in the model file",
        minimum=0.0, maximum=1.0, group=_WHICH,
    )  # fmt: skip
    max_resolution: float = option(
        0.0, help="classes of this resolution or better, as in the model file; 0 means all",
        unit="angst", minimum=0.0, group=_WHICH,
    )  # fmt: skip
    fn_sel_classavgs: Path | None = option(
        None, help="also list the averages of these 2D classes in this STAR file, as templates"
    )
    restack: bool = option(
        False, help="write the particles into one new stack beside the STAR file"
    )
