"""The M-step of a classification: one set of particles in, a map a class out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from relion_mpi.core.errors import NumericalError
from relion_mpi.mstep.reconstruct import reconstruct
from relion_mpi.mstep.spectra import ShellSpectra, spectra_from_prior

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import DTypeLike, NDArray

    from relion_mpi.backend.volumes import FourierSums, VolumeBackend
    from relion_mpi.mstep.maximise import MaximisationOptions


def symmetrised_or_none(
    volume: NDArray[np.float64],
    operators: NDArray[np.float64],
    box_size: int,
    r_max: int,
    padding: int,
    backend: VolumeBackend,
) -> FourierSums | None:
    """Turn reduced sums of one class into symmetrised data and weights, if there are any.

    Parameters
    ----------
    volume : float64 (n_kept, 3), rows of `relion_mpi.fourier.half_ball`
    operators : float64 (n, 3, 3)
    box_size, r_max, padding
        Geometry of the grid.
    backend
        Holds the sums and works on them from here on.

    Returns
    -------
    FourierSums or None
        None if no particle contributed: all weights are zero.

    Raises
    ------
    NumericalError
        If the sums are not finite.
    """
    found = backend.upload(volume, box_size, r_max, padding)
    if not found.finite:
        msg = "the Fourier sums contain NaN or infinite values after the E-step"
        raise NumericalError(msg)
    if not found.any_weight:
        return None
    backend.enforce_friedel(found.sums)
    backend.apply_point_group(found.sums, operators)
    return found.sums


def prior_of_references(
    maps: NDArray[np.floating[Any]], r_max: int, padding: int, backend: VolumeBackend
) -> NDArray[np.float64]:
    """Take the power of the references as prior variance of the signal.

    Parameters
    ----------
    maps : floating (n_class, box, box, box) references of the E-step
    r_max
        Last shell of the E-step.
    padding
        Oversampling.
    backend
        Does the work.

    Returns
    -------
    float64 (n_class, box // 2 + 1)
        Without RELION's T; 0 beyond r_max.
    """
    return np.stack([backend.map_power(one, r_max, padding) for one in maps])


def maximised_classes(
    sums: Iterable[FourierSums | None],
    tau2: NDArray[np.float64],
    options: MaximisationOptions,
    dtype: DTypeLike = np.float64,
) -> Iterator[tuple[NDArray[Any], ShellSpectra]]:
    """Reconstruct one class after the other with the power of its previous reference as prior.

    Parameters
    ----------
    sums
        Symmetrised sums of each class, None for an empty one. Where they are made as they are
        asked for, there is memory for one class only.
    tau2 : float64 (n_class, n_shell)
        From `prior_of_references`, without T.
    options
        Switches; those of half-sets do not matter.
    dtype
        To which finished maps are rounded.

    Yields
    ------
    volume : dtype (box,) * 3
        Regularised; zeros for an empty class.
    spectra : ShellSpectra
        None but its prior for an empty class.

    Source
    ------
    RELION updateSSNRarrays and BackProjector::reconstruct: T multiplies tau2 in both.
    """
    of_class = iter(sums)
    for prior in tau2:
        one = next(of_class)
        if one is None:
            none = np.zeros_like(prior)
            spectra = ShellSpectra(prior, none, none, none)
            yield np.zeros((2 * (prior.size - 1),) * 3, dtype), spectra
            continue
        spectra = spectra_from_prior(one, prior, options.tau2_fudge)
        volume = reconstruct(
            one, options.tau2_fudge * prior, skip_gridding=options.skip_gridding, dtype=dtype
        )
        del one  # its memory is needed for the next class
        yield volume, spectra
        del volume
