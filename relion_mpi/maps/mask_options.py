"""What `relion-mpi mask` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from relion_mpi.core.options import option


@dataclass(frozen=True, slots=True)
class MaskOptions:
    """Options of a solvent mask."""

    i: Path = option(help="map to make the mask of")
    o: Path = option(Path("mask.mrc"), help="mask to write")
    angpix: float = option(
        -1.0, help="pixel size; not positive: as in the header of the map", unit="angst"
    )
    lowpass: float = option(
        15.0, help="low-pass the map first; not positive: leave it as it is", unit="angst"
    )
    ini_threshold: float | None = option(
        None, help="density from which on a voxel is inside; without it, found in the map"
    )
    extend_inimask: float = option(
        3.0, help="grow the inside by this much, negative: shrink it", unit="pixel"
    )
    width_soft_edge: float = option(
        5.0, help="width of the raised-cosine edge around the inside", unit="pixel", minimum=0.0
    )
    fill: bool = option(False, help="count holes that the grown inside encloses as inside")
    invert: bool = option(False, help="1 outside, 0 inside")
    j: int = option(1, help="taken and ignored", hidden=True)
    pipeline_control: Path | None = option(
        None, help="folder for the files by which RELION's interface follows a job"
    )
