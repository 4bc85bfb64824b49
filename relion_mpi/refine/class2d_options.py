"""Options of class2d: those of 2D classification beside the common ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from relion_mpi.core.options import option
from relion_mpi.refine.class_options import ClassOptions
from relion_mpi.refine.common_options import OPT, REF, SAM

NO_REFERENCES = Path("None")
"""RELION's word for a classification without references."""


@dataclass(frozen=True, slots=True)
class Class2DOptions(ClassOptions):
    """Options of a 2D classification.

    What belongs to volumes has one value only, and is no option here: `sym`, `healpix_order`,
    `solvent_mask` and `solvent_mask2`.
    """

    ref: Path = option(
        NO_REFERENCES, help="Initial references: a stack with an image for each class, one image "
        "for all classes, or a STAR file with a row rlnReferenceImage for each; None: averages of "
        "the particles, turned at random", group=REF,
    )  # fmt: skip
    firstiter_cc: bool = option(
        True, help="Cross-correlation in the first iteration, where there is --ref: for references "
        "that are not on the particles' grey scale", negate="--no-firstiter_cc", group=REF,
    )  # fmt: skip
    sym: str = field(default="C1", init=False)
    solvent_mask: Path | None = field(default=None, init=False)
    solvent_mask2: Path | None = field(default=None, init=False)
    healpix_order: int = field(default=0, init=False)
    ini_high: float = option(
        -1.0, help="Low-pass the first averages or the references to this; not positive: as far as "
        "there is signal", unit="angst", group=REF,
    )  # fmt: skip
    tau2_fudge: float = option(
        2.0, help="Regularisation parameter T: more trusts the data more", minimum=0, group=OPT
    )
    center_classes: bool = option(
        True, help="Shift the centre of mass of each average to the centre of the box",
        negate="--no-center_classes", group=OPT,
    )  # fmt: skip
    psi_step: float = option(
        12.0, help="Coarse in-plane step; oversampling halves it", unit="deg",
        minimum=0.01, maximum=360, group=SAM,
    )  # fmt: skip

    @property
    def command(self) -> str:
        """Name of the program's command."""
        return "class2d"

    @property
    def has_references(self) -> bool:
        """Whether --ref names initial references; otherwise they are made of the particles."""
        return self.ref != NO_REFERENCES

    @property
    def is_planar(self) -> bool:
        """Whether references are images."""
        return True

    @property
    def exhaustive_orders(self) -> range:
        """One search, unless poses are kept; in-plane grids have no HEALPix order."""
        return range(int(not self.skip_align))
