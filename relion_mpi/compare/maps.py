"""Compare two maps by their Fourier shell correlation, before and after alignment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.compare.align import IDENTITY, Alignment, align, moved
from relion_mpi.core.errors import InputError
from relion_mpi.fourier.correlation import fourier_shell_correlation, resolution_at

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class MapComparison:
    """How two maps agree.

    Attributes
    ----------
    pixel_size_angst, box_size : grid of the maps
    alignment : Alignment that was applied to b
    fsc_before, fsc_after : float64 (box_size // 2 + 1,)
    resolution_before_angst, resolution_after_angst : at FSC 0.143 and at 0.5
    fsc_area : mean of fsc_after over shells 1 to Nyquist
    """

    pixel_size_angst: float
    box_size: int
    alignment: Alignment
    fsc_before: NDArray[np.float64]
    fsc_after: NDArray[np.float64]
    resolution_before_angst: tuple[float, float]
    resolution_after_angst: tuple[float, float]
    fsc_area: float


def compare_maps(
    a: NDArray[np.floating],
    b: NDArray[np.floating],
    pixel_size_angst: float,
    *,
    start: Alignment | None = None,
    mask: NDArray[np.floating] | None = None,
    search: bool = True,
) -> MapComparison:
    """Align b to a and correlate them shell by shell.

    Parameters
    ----------
    a, b : float (n, n, n)
    pixel_size_angst
        Angstrom, of both.
    start
        Where the alignment begins; without it all rotations are searched if need be.
    mask : float (n, n, n) or None
        In the frame of a; both maps are multiplied by it.
    search
        False: compare the maps as they are.

    Returns
    -------
    MapComparison

    Raises
    ------
    InputError
        The maps (or the mask) have different sizes, or one is constant or not finite.
    """
    for name, one in (("second map", b), ("mask", mask)):
        if one is not None and one.shape != a.shape:
            raise InputError(f"the {name} has {one.shape} voxels, expected {a.shape}")
    for name, one in (("first", a), ("second", b)):
        if not np.isfinite(one).all() or float(one.std()) == 0.0:
            raise InputError(f"the {name} map is constant or not finite; expected a density map")
    weight: NDArray[np.floating] | float = 1.0 if mask is None else mask
    alignment = align(a * weight, b, pixel_size_angst, start) if search else IDENTITY
    before = fourier_shell_correlation(a * weight, b * weight)
    aligned = moved(b, pixel_size_angst, alignment) if search else b
    after = fourier_shell_correlation(a * weight, aligned * weight)
    if after[1:].mean() < before[1:].mean():
        # Interpolation costs more than what there was to align.
        alignment, after = IDENTITY, before
    return MapComparison(
        pixel_size_angst=pixel_size_angst,
        box_size=a.shape[0],
        alignment=alignment,
        fsc_before=before,
        fsc_after=after,
        resolution_before_angst=_resolutions(before, a.shape[0], pixel_size_angst),
        resolution_after_angst=_resolutions(after, a.shape[0], pixel_size_angst),
        fsc_area=float(after[1:].mean()),
    )


def _resolutions(
    fsc: NDArray[np.float64], box_size: int, pixel_size_angst: float
) -> tuple[float, float]:
    first, second = (resolution_at(fsc, t, box_size, pixel_size_angst) for t in (0.143, 0.5))
    return first, second
