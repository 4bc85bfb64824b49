"""What `relion-mpi compare` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - options are made from the annotations

from relion_mpi.core.options import option


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """Options of a comparison."""

    a: Path = option(help="run root, STAR file, folder or map", group="What to compare")
    b: Path = option(help="the same for the other side; may be truth.star", group="What to compare")
    sym: str = option("C1", help="point group that poses may differ by")
    o: Path | None = option(None, help="folder for compare.json, compare.star and compare.png")
    mask: Path | None = option(None, help="map to multiply both maps by, in the frame of A")
    particle_diameter: float = option(
        0.0, help="soft sphere to multiply both maps by; 0 means none", unit="angst", minimum=0.0
    )
    angpix: float = option(
        0.0, help="pixel size of the maps; 0 means as their headers say", unit="angst", minimum=0.0
    )
    align_maps: bool = option(
        True, help="rotate and shift map B onto map A", negate="--no_align_maps"
    )
