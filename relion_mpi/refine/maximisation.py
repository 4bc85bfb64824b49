"""The M-step of an iteration: new maps, spectra and parameters, and the next references.

`maximisation` is auto-refine's, of two half-sets; `class_maximisation` that of classification,
and `plane_maximisation` that of 2D classification.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.backend import volumes_that_fit
from relion_mpi.fourier.masks import lowpass, lowpass_profile
from relion_mpi.model.compat import NAMES
from relion_mpi.mstep.centring import centred
from relion_mpi.mstep.classes import maximised_classes, prior_of_references, symmetrised_or_none
from relion_mpi.mstep.maximise import MaximisationOptions, maximise_halves, symmetrised
from relion_mpi.mstep.parameters import update_parameters
from relion_mpi.mstep.planes import maximise_planes, prior_of_planes
from relion_mpi.mstep.solvent import flatten

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from relion_mpi.backend.volumes import FourierSums, VolumeBackend
    from relion_mpi.model.state import HalfModel, Model
    from relion_mpi.model.statistics import Statistics
    from relion_mpi.mstep.maximise import Maximised
    from relion_mpi.mstep.spectra import ShellSpectra
    from relion_mpi.refine.class2d_options import Class2DOptions
    from relion_mpi.refine.class3d_options import Class3DOptions
    from relion_mpi.refine.common_options import CommonOptions
    from relion_mpi.refine.options import RefineOptions
    from relion_mpi.refine.planning import Stage

    Volume = NDArray[np.float64]
    Masks = tuple[Volume, Volume | None]

MASKING_THREADS = 2


def maximisation(
    volumes: list[Any],
    statistics: list[Statistics],
    model: Model,
    options: RefineOptions,
    operators: NDArray[np.float64],
    masks: Masks,
    stage: Stage,
) -> Maximised:
    """Make new half-maps and parameters of the sums of two half-sets.

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
    stage
        What is special about the iteration; in the last one the half-sets are joined, and the
        references stay.

    Returns
    -------
    Maximised
        Maps and curves.
    """
    geometry = model.box_size, model.current_size // 2, model.padding
    backend = _backend(model, options, operators)
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
        sums[0], sums[1], model.current_resolution, model.pixel_size_angst, switches,
        last=stage.last,
    )  # fmt: skip
    sums.clear()
    backend.release()
    for h, half in enumerate(model.halves):
        if not stage.last:
            half.maps = np.empty_like(half.maps)  # the former ones may be on their way to a file
        _update(model, h, statistics[h], options, stage)
        half.fsc = maximised.fsc
        _take_spectra(half, 0, maximised.joined[1] if maximised.joined else maximised.spectra[h])
        if not stage.last:
            _take_map(model, (h, 0), maximised.maps[h], options, masks, stage)
    return maximised


def class_maximisation(
    volumes: list[Any],
    statistics: list[Statistics],
    model: Model,
    options: Class3DOptions,
    operators: NDArray[np.float64],
    masks: Masks,
    stage: Stage,
) -> None:
    """Make a new map of each class and new parameters of the sums of all particles.

    Parameters
    ----------
    volumes, statistics
        As for `maximisation`, of one set.
    model
        Changed in place.
    options
        Of the run.
    operators, masks, stage
        As for `maximisation`.
    """
    half = model.halves[0]
    backend = _backend(model, options, operators)
    tau2 = prior_of_references(half.maps, model.current_size // 2, model.padding, backend)
    switches = MaximisationOptions(
        tau2_fudge=options.tau2_fudge, skip_gridding=options.skip_gridding
    )
    found = maximised_classes(
        _class_sums(volumes.pop(), model, operators, backend), tau2, switches, half.maps.dtype
    )
    half.maps = np.empty_like(half.maps)  # the former ones may still be on their way to a file
    # A map is masked on the host while the GPU makes the next one.
    with ThreadPoolExecutor(MASKING_THREADS) as threads:
        waiting = []
        for k, (volume, spectra) in enumerate(found):
            _take_spectra(half, k, spectra)
            place = 0, k
            waiting.append(threads.submit(_take_map, model, place, volume, options, masks, stage))
            if k >= MASKING_THREADS:
                waiting[k - MASKING_THREADS].result()
        for one in waiting:
            one.result()
    backend.release()
    _update(model, 0, statistics[0], options, stage)
    if stage.skip_align:
        half.reset_directions(half.pdf_direction.shape[1])
    if stage.one_class:
        _give_to_all(half)


def plane_maximisation(
    volumes: list[Any],
    statistics: list[Statistics],
    model: Model,
    options: Class2DOptions,
    masks: Masks,
    stage: Stage,
) -> None:
    """Make a new average of each class and new parameters of the sums of all particles.

    Parameters
    ----------
    volumes : list of float64 (n_class, n_rows, 3)
        Sums of the one set; the list is emptied.
    statistics
        Of it.
    model
        Changed in place.
    options
        Of the run.
    masks, stage
        As for `maximisation`; masks are images.
    """
    half, r_max = model.halves[0], model.current_size // 2
    switches = MaximisationOptions(
        tau2_fudge=options.tau2_fudge, skip_gridding=options.skip_gridding
    )
    tau2 = prior_of_planes(half.maps, r_max, model.padding)
    found = maximise_planes(volumes.pop(), tau2, r_max, model.padding, switches)
    half.maps = np.empty_like(half.maps)  # the former ones may still be on their way to a file
    _update(model, 0, statistics[0], options, stage)
    for k, (image, spectra) in enumerate(zip(found.maps, found.spectra, strict=True)):
        _take_spectra(half, k, spectra)
        if options.center_classes:
            image = centred(image, masks[0], options.offset_range)
        _take_map(model, (0, k), image, options, masks, stage)
    if stage.one_class:
        _give_to_all(half)


def _backend(
    model: Model, options: CommonOptions, operators: NDArray[np.float64]
) -> VolumeBackend:
    return volumes_that_fit(
        "cpu" if options.gpu is None else "gpu",
        model.box_size, model.current_size // 2, model.padding,
        skip_gridding=options.skip_gridding, n_operators=operators.shape[0],
        deterministic=options.deterministic,
    )  # fmt: skip


def _class_sums(
    volume: Any, model: Model, operators: NDArray[np.float64], backend: VolumeBackend
) -> Iterator[FourierSums | None]:
    """Make the sums of one class when they are asked for: there may be memory for one only."""
    geometry = model.box_size, model.current_size // 2, model.padding
    for one in volume:
        yield symmetrised_or_none(one, operators, *geometry, backend)


def _update(
    model: Model, h: int, statistics: Statistics, options: CommonOptions, stage: Stage
) -> None:
    update_parameters(
        model.halves[h], statistics, model.box_size,
        after_cc=stage.is_cc, correct_norm=options.norm, correct_scale=options.scale,
        compat=NAMES[options.compat],
    )  # fmt: skip


def _take_spectra(half: HalfModel, k: int, spectra: ShellSpectra) -> None:
    half.tau2[k], half.sigma2[k] = spectra.tau2, spectra.sigma2
    half.data_vs_prior[k], half.coverage[k] = spectra.data_vs_prior, spectra.coverage


def _take_map(
    model: Model,
    place: tuple[int, int],
    volume: NDArray[np.floating[Any]],
    options: CommonOptions,
    masks: Masks,
    stage: Stage,
) -> None:
    """Make the new map of a half-set and class the next reference."""
    h, k = place
    half = model.halves[h]
    if stage.is_cc and options.ini_high > 0:
        # Cross-correlation says little about high resolution: stay at the reference's.
        volume = lowpass(volume, model.pixel_size_angst, options.ini_high)
        cutoff = model.box_angst / options.ini_high
        damp = lowpass_profile(np.arange(model.n_shell, dtype=float), cutoff) ** 2
        half.tau2[k] *= damp
        half.data_vs_prior[k] *= damp
    if options.flatten_solvent:
        flatten(volume, *masks, out=half.maps[k])
    else:
        half.maps[k] = volume


def _give_to_all(half: HalfModel) -> None:
    """Let all classes begin from what was found for the first one alone.

    Source
    ------
    RELION's maximization after a first iteration by cross-correlation that is to be seeded.
    """
    n_class = half.n_class
    for values in (half.maps, half.tau2, half.sigma2, half.data_vs_prior, half.coverage):
        values[:] = values[0]
    half.pdf_class = np.full(n_class, 1.0 / n_class)
    half.pdf_direction = np.repeat(half.pdf_direction[:1] / n_class, n_class, axis=0)
