"""Options of class3d: those of 3D classification beside the common ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from relion_mpi.core.options import option
from relion_mpi.refine.class_options import ClassOptions
from relion_mpi.refine.common_options import OPT, REF, SAM

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Class3DOptions(ClassOptions):
    """Options of a 3D classification."""

    ref: Path = option(
        help="Initial references: one map for all classes, a map for each class separated by "
        "commas, or a STAR file with a row rlnReferenceImage for each", group=REF,
    )  # fmt: skip
    tau2_fudge: float = option(
        4.0, help="Regularisation parameter T: more trusts the data more", minimum=0, group=OPT
    )
    fast_subsets: bool = option(
        False, help="Use random subsets of the particles in the first 15 iterations",
        negate="--no-fast_subsets", group=OPT,
    )  # fmt: skip
    sigma_ang: float = option(
        -1.0, help="Standard deviation of local searches around each particle's angles, which "
        "reach three times as far; not positive: search everywhere", unit="deg", group=SAM,
    )  # fmt: skip

    @property
    def command(self) -> str:
        """Name of the program's command."""
        return "class3d"

    @property
    def exhaustive_orders(self) -> range:
        """HEALPix orders that are searched exhaustively."""
        is_exhaustive = self.sigma_ang <= 0 and not self.skip_align
        return range(self.healpix_order, self.healpix_order + int(is_exhaustive))
