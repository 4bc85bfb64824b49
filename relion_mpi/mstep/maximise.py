"""The gold-standard M-step: two half-sets in, two maps and an FSC out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.core.errors import NumericalError
from relion_mpi.mstep.grid import FourierSums, join_low_resolution
from relion_mpi.mstep.reconstruct import reconstruct
from relion_mpi.mstep.solvent_fsc import solvent_corrected_fsc
from relion_mpi.mstep.spectra import half_set_fsc, spectra_from_fsc
from relion_mpi.mstep.symmetrise import apply_point_group, enforce_friedel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.mstep.spectra import ShellSpectra


@dataclass(frozen=True, slots=True)
class MaximisationOptions:
    """Switches of the reconstruction.

    Attributes
    ----------
    tau2_fudge : RELION's T
    skip_gridding : divide once instead of iterating
    join_below_angst : join the halves at resolutions worse than this, <= 0 for never
    fsc_mask : float64 (box,) * 3 for a solvent-corrected FSC, or None
    random_seed : of the phase randomisation
    """

    tau2_fudge: float = 1.0
    skip_gridding: bool = True
    join_below_angst: float = 40.0
    fsc_mask: NDArray[np.float64] | None = None
    random_seed: int = 0


@dataclass(frozen=True, slots=True)
class Maximised:
    """Maps and spectra of an iteration.

    Attributes
    ----------
    maps : regularised map of each half-set
    spectra : of each half-set
    fsc : float64 (n_shell,)
    joined : map and spectra of all data in the last iteration
    unfiltered : unregularised half-maps when they were made
    """

    maps: tuple[NDArray[np.float64], ...]
    spectra: tuple[ShellSpectra, ...]
    fsc: NDArray[np.float64]
    joined: tuple[NDArray[np.float64], ShellSpectra] | None = None
    unfiltered: tuple[NDArray[np.float64], ...] | None = None


def symmetrised(
    volume: NDArray[np.float64],
    operators: NDArray[np.float64],
    box_size: int,
    r_max: int,
    padding: int,
) -> FourierSums:
    """Turn reduced sums of one class into symmetrised data and weights.

    Parameters
    ----------
    volume : float64 (size, size, size // 2 + 1, 3)
    operators : float64 (n, 3, 3)
    box_size, r_max, padding
        Geometry of the grid.

    Raises
    ------
    NumericalError
        If the sums are not finite or no particle contributed.
    """
    if not np.isfinite(volume).all():
        msg = "the Fourier sums contain NaN or infinite values after the E-step"
        raise NumericalError(msg)
    sums = FourierSums.from_interleaved(volume, box_size, r_max, padding)
    if not sums.weight.any():
        msg = "no particle contributed to the reconstruction: all weights are zero"
        raise NumericalError(msg)
    enforce_friedel(sums)
    apply_point_group(sums, operators)
    return sums


def maximise_halves(
    first: FourierSums,
    second: FourierSums,
    current_resolution: float,
    pixel_size_angst: float,
    options: MaximisationOptions,
    *,
    last: bool,
) -> Maximised:
    """Do the M-step of auto-refine.

    Parameters
    ----------
    first, second
        Symmetrised sums of the half-sets; their low resolution is joined in place.
    current_resolution
        1/Angstrom before this iteration.
    pixel_size_angst
        Angstrom.
    options
        Switches.
    last
        The last iteration: also reconstruct all data together and the unregularised half-maps.

    Source
    ------
    RELION MlOptimiserMpi::iterate, compareTwoHalves, maximization.
    """
    box = first.box_size
    unfiltered: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    if last or options.fsc_mask is not None:
        unfiltered = (
            reconstruct(first, None, skip_gridding=options.skip_gridding),
            reconstruct(second, None, skip_gridding=options.skip_gridding),
        )
    if options.join_below_angst > 0:
        limit_angst = max(options.join_below_angst, 1.0 / max(current_resolution, 1e-9))
        join_low_resolution(
            first, second, min(int(np.ceil(box * pixel_size_angst / limit_angst)), first.r_max)
        )
    fsc = half_set_fsc(first, second)
    if options.fsc_mask is not None and unfiltered is not None:
        fsc = solvent_corrected_fsc(*unfiltered, options.fsc_mask, options.random_seed)
        fsc[first.r_max + 1 :] = 0.0
    if not np.isfinite(fsc).all():
        msg = "the FSC of the half-maps is not finite"
        raise NumericalError(msg)
    maps, spectra = [], []
    for sums in (first, second):
        mine = spectra_from_fsc(sums, fsc, options.tau2_fudge, joined=False)
        spectra.append(mine)
        if not last:
            maps.append(_regularised(sums, mine, options))
    joined = None
    if last:
        both = FourierSums(
            first.data + second.data, first.weight + second.weight, box, first.r_max, first.padding
        )
        mine = spectra_from_fsc(both, fsc, options.tau2_fudge, joined=True)
        joined = _regularised(both, mine, options), mine
    return Maximised(tuple(maps), tuple(spectra), fsc, joined, unfiltered)


def _regularised(
    sums: FourierSums, spectra: ShellSpectra, options: MaximisationOptions
) -> NDArray[np.float64]:
    """Reconstruct with the prior of the given spectra."""
    return reconstruct(sums, spectra.tau2, skip_gridding=options.skip_gridding)
