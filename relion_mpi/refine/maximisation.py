"""The M-step of an iteration: new maps, spectra and parameters, and the next references."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.backend import volumes_that_fit
from relion_mpi.fourier.masks import lowpass, lowpass_profile
from relion_mpi.model.compat import NAMES
from relion_mpi.mstep.maximise import MaximisationOptions, maximise_halves, symmetrised
from relion_mpi.mstep.parameters import update_parameters
from relion_mpi.mstep.solvent import flatten

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.model.state import Model
    from relion_mpi.model.statistics import Statistics
    from relion_mpi.mstep.maximise import Maximised
    from relion_mpi.refine.options import RefineOptions

    Volume = NDArray[np.float64]


def maximisation(
    volumes: list[Any],
    statistics: list[Statistics],
    model: Model,
    options: RefineOptions,
    operators: NDArray[np.float64],
    masks: tuple[Volume, Volume | None],
    *,
    is_cc: bool,
    last: bool,
) -> Maximised:
    """Make new maps and parameters of the sums.

    Parameters
    ----------
    volumes : list of float64 (n_class, n_kept, 3)
        Sums of each half-set; the list is emptied.
    statistics
        Of each half-set.
    model
        Changed in place.
    options
        Of the run.
    operators : float64 (n, 3, 3)
        Point group.
    masks
        Solvent mask, and that of the region whose density is set to its mean.
    is_cc
        The E-step was cross-correlation.
    last
        The half-sets are joined, and the references stay.

    Returns
    -------
    Maximised
        Maps and curves.
    """
    geometry = model.box_size, model.current_size // 2, model.padding
    backend = volumes_that_fit(
        "cpu" if options.gpu is None else "gpu", *geometry,
        skip_gridding=options.skip_gridding, n_operators=operators.shape[0],
        deterministic=options.deterministic,
    )  # fmt: skip
    sums = []
    while volumes:  # each reduced volume is freed as soon as it is symmetrised
        sums.append(symmetrised(volumes.pop(0)[0], operators, *geometry, backend))
    switches = MaximisationOptions(
        tau2_fudge=options.tau2_fudge,
        skip_gridding=options.skip_gridding,
        join_below_angst=options.low_resol_join_halves,
        fsc_mask=masks[0] if options.solvent_correct_fsc else None,
        random_seed=options.random_seed,
    )
    maximised = maximise_halves(
        sums[0], sums[1], model.current_resolution, model.pixel_size_angst, switches, last=last
    )
    sums.clear()
    backend.release()
    for h, half in enumerate(model.halves):
        update_parameters(
            half, statistics[h], model.box_size,
            after_cc=is_cc, correct_norm=options.norm, correct_scale=options.scale,
            compat=NAMES[options.compat],
        )  # fmt: skip
        spectra = maximised.joined[1] if maximised.joined else maximised.spectra[h]
        half.fsc = maximised.fsc
        half.tau2[0], half.sigma2[0] = spectra.tau2, spectra.sigma2
        half.data_vs_prior[0], half.coverage[0] = spectra.data_vs_prior, spectra.coverage
        if not last:
            _take_map(model, h, maximised.maps[h], options, masks, is_cc=is_cc)
    return maximised


def _take_map(
    model: Model,
    h: int,
    volume: Volume,
    options: RefineOptions,
    masks: tuple[Volume, Volume | None],
    *,
    is_cc: bool,
) -> None:
    """Make a half-set's new map the next reference."""
    half = model.halves[h]
    if is_cc and options.ini_high > 0:
        # Cross-correlation says little about high resolution: stay at the reference's.
        volume = lowpass(volume, model.pixel_size_angst, options.ini_high)
        cutoff = model.box_angst / options.ini_high
        damp = lowpass_profile(np.arange(model.n_shell, dtype=float), cutoff) ** 2
        half.tau2[0] *= damp
        half.data_vs_prior[0] *= damp
    if options.flatten_solvent:
        volume = flatten(volume, *masks)
    half.maps[0] = volume
