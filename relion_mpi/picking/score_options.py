"""What `relion-mpi pick-score` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - options are made from the annotations

from relion_mpi.core.options import option


@dataclass(frozen=True, slots=True)
class PickScoreOptions:
    """Options of a comparison of picks with the truth."""

    truth: tuple[Path, ...] = option(
        help="coordinate files of what is there, MICROGRAPH.star or MICROGRAPH_anything.star"
    )
    picks: Path = option(help="folder of the coordinate files of what was picked")
    cutoff: float = option(
        35.0, help="largest distance between a pick and the particle that it stands for",
        unit="pixel", minimum=0.0,
    )  # fmt: skip
    pickname: str = option("autopick", help="the picks are in MICROGRAPH_pickname.star")
    threshold: float | None = option(
        None, help="count picks of at least this figure of merit; by default all"
    )
    best: bool = option(False, help="count picks at the threshold whose F1 is best")
    border: float = option(
        0.0, help="leave out picks and particles so near the edge of a micrograph", unit="pixel",
        minimum=0.0,
    )  # fmt: skip
    i: str | None = option(
        None, help="the micrographs, as for autopick: with --border their sizes are needed"
    )
    o: Path | None = option(
        None, help="root of the curve over thresholds: .star, .csv and .png are written"
    )
