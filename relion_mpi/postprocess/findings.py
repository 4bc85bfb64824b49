"""What a post-processing finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from relion_mpi.postprocess.curves import PROTEIN_DALTON_PER_CUBIC_ANGST, PROTEIN_SHARE

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from relion_mpi.postprocess.curves import MaskedCurves
    from relion_mpi.postprocess.guinier import Guinier


@dataclass(frozen=True, slots=True)
class Findings:
    """Curves, resolution and B-factor of two half-maps.

    Attributes
    ----------
    halves, mask : files; mask may be None
    box_size, pixel_size_angst : grid
    unmasked : float64 (n // 2 + 1,)
    masked : with the mask, or None without one
    fsc : float64 (n // 2 + 1,), the curve that counts for resolution and weights: the corrected
        one, or the unmasked one where that reaches further
    resolution_angst : last shell before it falls below 0.143
    bfactor : applied, Angstrom^2, 0 for none
    guinier : amplitudes before and after
    mask_factor : volume of the box over that of protein in the mask, or None
    molweight : kDa, or None
    """

    halves: tuple[Path, Path]
    mask: Path | None
    box_size: int
    pixel_size_angst: float
    unmasked: NDArray[np.float64]
    masked: MaskedCurves | None
    fsc: NDArray[np.float64]
    resolution_angst: float
    bfactor: float
    guinier: Guinier
    mask_factor: float | None
    molweight: float | None

    @property
    def box_angst(self) -> float:
        """Side of the box, Angstrom."""
        return self.box_size * self.pixel_size_angst

    @property
    def weight_factor(self) -> float | None:
        """Volume of the box over that of the given mass, by cisTEM's share; None without."""
        if self.molweight is None:
            return None
        volume = 1000.0 * self.molweight / PROTEIN_DALTON_PER_CUBIC_ANGST
        return PROTEIN_SHARE * self.box_angst**3 / volume
