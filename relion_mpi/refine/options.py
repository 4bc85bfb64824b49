"""Options of refine3d: those of auto-refine beside the common ones."""

from __future__ import annotations

from dataclasses import dataclass

from relion_mpi.core.options import option
from relion_mpi.refine.common_options import OPT, REF, SAM, CommonOptions

FINEST_EXHAUSTIVE = 5
"""Finer grids are hardly ever searched as a whole, whatever --auto_local_healpix_order allows: each
takes eight times as long as the one before."""


@dataclass(frozen=True, slots=True)
class RefineOptions(CommonOptions):
    """Options of a gold-standard refinement."""

    solvent_correct_fsc: bool = option(
        False, help="Correct the FSC for the mask during refinement; needs --solvent_mask",
        negate="--no-solvent_correct_fsc", group=REF,
    )  # fmt: skip
    auto_local_healpix_order: int = option(
        4, help="Search locally from this order on", minimum=0, maximum=9, group=SAM
    )
    auto_ignore_angles: bool = option(
        False, help="Refine the sampling even while orientations still change",
        negate="--no-auto_ignore_angles", group=SAM,
    )  # fmt: skip
    auto_resol_angles: bool = option(
        False, help="Refine the sampling as soon as the resolution needs it",
        negate="--no-auto_resol_angles", group=SAM,
    )  # fmt: skip
    low_resol_join_halves: float = option(
        40.0, help="Join the half-maps up to this resolution, so that they keep one frame; "
        "-1 for never", unit="angst", group=OPT,
    )  # fmt: skip
    auto_iter_max: int = option(
        999, help="Stop after this iteration if not converged", minimum=1, group=OPT
    )

    @property
    def command(self) -> str:
        """Name of the program's command."""
        return "refine3d"

    @property
    def n_half(self) -> int:
        """Number of half-sets that are kept apart."""
        return 2

    @property
    def last_iteration(self) -> int:
        """Number of the iteration after which a run ends in any case."""
        return self.auto_iter_max

    @property
    def exhaustive_orders(self) -> range:
        """HEALPix orders that are searched exhaustively, as far as memory is planned for them."""
        last = max(self.healpix_order, FINEST_EXHAUSTIVE)
        return range(self.healpix_order, min(self.auto_local_healpix_order, last + 1))
