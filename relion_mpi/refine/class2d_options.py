"""Options of class2d: those of 2D classification beside the common ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from relion_mpi.core.options import option
from relion_mpi.refine.common_options import OPT, REF, SAM, CommonOptions


@dataclass(frozen=True, slots=True)
class Class2DOptions(CommonOptions):
    """Options of a 2D classification.

    What belongs to volumes has one value only, and is no option here: `ref` (there is none), `sym`,
    `healpix_order`, `solvent_mask`, `solvent_mask2`, `ref_angpix` and `firstiter_cc`.
    """

    ref: Path = field(default=Path("None"), init=False)
    ref_angpix: float = field(default=-1.0, init=False)
    firstiter_cc: bool = field(default=False, init=False)
    sym: str = field(default="C1", init=False)
    solvent_mask: Path | None = field(default=None, init=False)
    solvent_mask2: Path | None = field(default=None, init=False)
    healpix_order: int = field(default=0, init=False)
    ini_high: float = option(
        -1.0, help="Low-pass the first averages to this; not positive: as far as there is signal",
        unit="angst", group=REF,
    )  # fmt: skip
    tau2_fudge: float = option(
        2.0, help="Regularisation parameter T: more trusts the data more", minimum=0, group=OPT
    )
    K: int = option(1, help="Number of classes", minimum=1, group=OPT)
    iter: int = option(25, help="Number of iterations", minimum=1, group=OPT)
    strict_highres_exp: float = option(
        -1.0, help="Use no data beyond this resolution; not positive: as far as there is signal",
        unit="angst", group=OPT,
    )  # fmt: skip
    center_classes: bool = option(
        True, help="Shift the centre of mass of each average to the centre of the box",
        negate="--no-center_classes", group=OPT,
    )  # fmt: skip
    psi_step: float = option(
        12.0, help="Coarse in-plane step; oversampling halves it", unit="deg",
        minimum=0.01, maximum=360, group=SAM,
    )  # fmt: skip
    skip_align: bool = option(
        False, help="Keep all poses of the particle file and find classes alone",
        negate="--no-skip_align", group=SAM,
    )  # fmt: skip

    @property
    def command(self) -> str:
        """Name of the program's command."""
        return "class2d"

    @property
    def is_planar(self) -> bool:
        """Whether references are images."""
        return True

    @property
    def n_class(self) -> int:
        """Number of classes."""
        return self.K

    @property
    def last_iteration(self) -> int:
        """Number of the iteration after which a run ends in any case."""
        return self.iter

    @property
    def exhaustive_orders(self) -> range:
        """One search, unless poses are kept; in-plane grids have no HEALPix order."""
        return range(int(not self.skip_align))
