"""What `relion-mpi subtract` can be told: RELION's names and defaults."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from relion_mpi.core.options import option

_CENTRE, _RUN = "Centre and box", "Running"
UNSET = 9999.0
"""RELION's value of a coordinate that is not given."""


@dataclass(frozen=True, slots=True)
class SubtractOptions:
    """Options of a subtraction."""

    i: Path | None = option(
        None, help="run_itNNN_optimiser.star, or the run_data.star beside a run_model.star, or any "
        "particle STAR file with --ref",
    )  # fmt: skip
    o: Path = option(Path("Subtract"), help="folder to write to; it is made")
    mask: Path | None = option(
        None, help="mask of 1 where density is kept and 0 where it is subtracted; without one, the "
        "whole map is subtracted",
    )  # fmt: skip
    ref: Path | None = option(
        None, help="map of all particles, in place of those that --i has; on the grid of the first "
        "optics group",
    )  # fmt: skip
    data: Path | None = option(
        None, help="particle STAR file, where other particles than those of --i are wanted"
    )
    ignore_class: bool = option(
        False, help="subtract the first class from all particles, whatever their rlnClassNumber"
    )
    revert: Path | None = option(
        None, help="particle STAR file of a subtraction whose original images are wanted back; all "
        "other options but --o are without effect then",
    )  # fmt: skip
    ssnr: bool = option(
        False, help="subtract nothing, only measure the spectral signal-to-noise ratio of the "
        "images under the whole map",
    )  # fmt: skip
    recenter_on_mask: bool = option(
        False, help="centre the particles on the mask's centre of mass", group=_CENTRE
    )
    center_x: float = option(
        UNSET, help="centre the particles on this place, from the centre of the box; 9999 means "
        "no", unit="pixel", group=_CENTRE,
    )  # fmt: skip
    center_y: float = option(UNSET, help="the same along y", unit="pixel", group=_CENTRE)
    center_z: float = option(UNSET, help="the same along z", unit="pixel", group=_CENTRE)
    new_box: int = option(
        -1, help="crop, or pad with zeros, to this side; not above 0 means leave it", unit="pixel",
        group=_CENTRE,
    )  # fmt: skip
    float16: bool = option(
        False, help="write 16-bit floats (MRC mode 12); on in any case where all images of an "
        "optics group are such",
    )  # fmt: skip
    compat: str | None = option(
        None, help="relion3: bring the images to the grey scale of the map, as RELION 3.1 does",
        choices=("relion3",), group=_RUN,
    )  # fmt: skip
    j: int = option(
        0, help="threads per rank; 0 shares the node's cores between its workers", minimum=0,
        group=_RUN,
    )  # fmt: skip
    precision: str = option(
        "float32", help="arithmetic of the projections", choices=("float32", "float64"), group=_RUN
    )
    pipeline_control: Path | None = option(
        None, help="folder for the files by which RELION's interface follows a job", group=_RUN
    )

    @property
    def center(self) -> tuple[float, float, float] | None:
        """The place that was given, in pixels; what is not given of it is 0."""
        given = self.center_x, self.center_y, self.center_z
        if all(one == UNSET for one in given):
            return None
        x, y, z = (0.0 if one == UNSET else one for one in given)
        return x, y, z
