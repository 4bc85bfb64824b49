"""Options of initialmodel: a volume from particles alone, by mini-batches."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from relion_mpi.core.options import option
from relion_mpi.refine.class3d_options import Class3DOptions
from relion_mpi.refine.common_options import GRAD, OPT, REF, SAM


@dataclass(frozen=True, slots=True)
class InitialModelOptions(Class3DOptions):
    """Options of an initial model.

    It is a 3D classification by mini-batches with coarse grids and low resolution. What makes no
    sense without a reference has one value only, and is no option here.
    """

    ref: Path = field(default=Path("None"), init=False)
    ref_angpix: float = field(default=-1.0, init=False)
    firstiter_cc: bool = field(default=True, init=False)
    fast_subsets: bool = field(default=False, init=False)
    sigma_ang: float = field(default=-1.0, init=False)
    skip_align: bool = field(default=False, init=False)
    grad: bool = field(default=True, init=False)
    ini_high: float = option(
        35.0, help="Resolution of the first volumes, which are made up at random", unit="angst",
        minimum=1, group=REF,
    )  # fmt: skip
    grad_ini_resol: float = option(
        35.0, help="Use no data beyond this resolution in the first mini-batches", unit="angst",
        group=GRAD,
    )  # fmt: skip
    grad_fin_resol: float = option(
        15.0, help="Use no data beyond this resolution in the last mini-batches", unit="angst",
        group=GRAD,
    )  # fmt: skip
    healpix_order: int = option(
        1, help="HEALPix order of the first coarse grid (1: 30 degrees); it follows the resolution",
        minimum=0, maximum=8, group=SAM,
    )  # fmt: skip
    offset_range: float = option(
        6.0, help="Search range of origin offsets", unit="pix", minimum=0, group=SAM
    )
    pad: int = option(1, help="Oversampling of transforms", minimum=1, maximum=3, group=OPT)

    @property
    def command(self) -> str:
        """Name of the program's command."""
        return "initialmodel"

    @property
    def from_nothing(self) -> bool:
        """Whether volumes begin without a reference."""
        return True

    @property
    def exhaustive_orders(self) -> range:
        """HEALPix orders that are searched exhaustively."""
        return range(self.healpix_order, self.healpix_order + 3)
