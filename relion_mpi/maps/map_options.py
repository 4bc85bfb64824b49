"""What `relion-mpi map` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - options are made from the annotations

from relion_mpi.core.options import option

_DENSITY = "Density"
_PLACE = "Hand and place"
_GRID = "Grid"
_AXES = "Rotation and symmetry"


@dataclass(frozen=True, slots=True)
class MapOptions:
    """Options of the operations on a map, in the order in which they are done."""

    i: Path = option(help="map to read")
    o: Path | None = option(None, help="map to write; may be left out with --stats alone")
    angpix: float = option(
        -1.0, help="pixel size of --i; not positive: as in its header", unit="angst"
    )
    multiply_constant: float = option(1.0, help="multiply all voxels by this", group=_DENSITY)
    bfactor: float = option(
        0.0, help="multiply the transform by exp(-B/4 s^2); negative sharpens", unit="angst^2",
        group=_DENSITY,
    )  # fmt: skip
    lowpass: float = option(
        -1.0, help="low-pass filter; not positive: none", unit="angst", group=_DENSITY
    )
    highpass: float = option(
        -1.0, help="high-pass filter; not positive: none", unit="angst", group=_DENSITY
    )
    invert_hand: bool = option(
        False, help="the other hand: x becomes -x about the centre voxel", group=_PLACE
    )
    shift_com: bool = option(
        False, help="shift the centre of mass of the positive voxels to the centre", group=_PLACE
    )
    shift_x: float = option(0.0, help="shift along x", unit="pixel", group=_PLACE)
    shift_y: float = option(0.0, help="shift along y", unit="pixel", group=_PLACE)
    shift_z: float = option(0.0, help="shift along z", unit="pixel", group=_PLACE)
    rescale_angpix: float = option(
        -1.0, help="resample to this pixel size, or the nearest one with a box of even side",
        unit="angst", group=_GRID,
    )  # fmt: skip
    new_box: int = option(
        -1, help="crop, or pad with zeros, to this side; not positive: leave it", unit="pixel",
        group=_GRID,
    )  # fmt: skip
    align_symmetry: str | None = option(
        None, help="turn and centre the map so that its axes of this point group are RELION's",
        group=_AXES,
    )  # fmt: skip
    keep_centre: bool = option(
        False, help="--align_symmetry turns about the centre of the box", group=_AXES
    )
    align_to: Path | None = option(
        None, help="turn and shift the map onto this one; both hands are tried", group=_AXES
    )
    sym: str | None = option(None, help="average over this point group", group=_AXES)
    stats: bool = option(False, help="tell size, pixel size, extremes, mean and deviation")
