"""The gold-standard M-step: two half-sets in, two maps and an FSC out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.backend.select import select_volumes
from relion_mpi.core.errors import NumericalError
from relion_mpi.mstep.classes import symmetrised_or_none
from relion_mpi.mstep.reconstruct import reconstruct
from relion_mpi.mstep.solvent_fsc import solvent_corrected_fsc
from relion_mpi.mstep.spectra import half_set_fsc, spectra_from_fsc

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.backend.volumes import FourierSums, VolumeBackend
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
    backend: VolumeBackend | None = None,
) -> FourierSums:
    """Turn reduced sums of one class into symmetrised data and weights.

    Parameters
    ----------
    volume : float64 (n_kept, 3), rows of `relion_mpi.fourier.half_ball`
    operators : float64 (n, 3, 3)
    box_size, r_max, padding
        Geometry of the grid.
    backend
        Holds the sums and works on them from here on; the CPU unless given.

    Raises
    ------
    NumericalError
        If the sums are not finite or no particle contributed.
    """
    backend = backend or select_volumes("cpu")
    sums = symmetrised_or_none(volume, operators, box_size, r_max, padding, backend)
    if sums is None:
        msg = "no particle contributed to the reconstruction: all weights are zero"
        raise NumericalError(msg)
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
        Symmetrised sums of the half-sets, of one backend. They are used up: their low resolution
        is joined, and in the last iteration the second is added to the first.
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
        first.backend.join_low_resolution(
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
        first.backend.add(first, second)
        mine = spectra_from_fsc(first, fsc, options.tau2_fudge, joined=True)
        joined = _regularised(first, mine, options), mine
    return Maximised(tuple(maps), tuple(spectra), fsc, joined, unfiltered)


def _regularised(
    sums: FourierSums, spectra: ShellSpectra, options: MaximisationOptions
) -> NDArray[np.float64]:
    """Reconstruct with the prior of the given spectra."""
    return reconstruct(sums, spectra.tau2, skip_gridding=options.skip_gridding)
