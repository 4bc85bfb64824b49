"""Log priors of classes, orientations and shifts, relative to their means as RELION has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.backend.protocol import LocalPrior
from relion_mpi.geometry.euler import euler_to_matrix
from relion_mpi.sampling.local import local_orientations
from relion_mpi.sampling.local_euler import local_orientations_by_euler

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.estep.plan import ParticleBatch, Plan
    from relion_mpi.sampling.local import LocalSearch


def relative_log(pdf: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take the log of a distribution relative to its mean.

    Parameters
    ----------
    pdf : float64 (...)

    Returns
    -------
    float64 (...)
        -inf where the distribution vanishes.
    """
    with np.errstate(divide="ignore"):
        relative: NDArray[np.float64] = np.log(pdf / pdf.mean())
    return relative


def prior_of_class(pdf_direction: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Make the log prior of directions for particles that take part in one class only.

    Parameters
    ----------
    pdf_direction : float64 (n_class, n_dir)
    k
        The class.

    Returns
    -------
    float64 (n_class, n_dir)
        -inf for the other classes; relative to the mean over this one.
    """
    prior = np.full(pdf_direction.shape, -np.inf)
    prior[k] = relative_log(pdf_direction[k])
    return prior


def shift_prior(
    plan: Plan, batch: ParticleBatch, start_angst: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Give the log prior of each coarse shift relative to the mean prior.

    The Gaussian of the whole offset in Angstrom; RELION mixes units here.

    Parameters
    ----------
    plan
        The iteration.
    batch
        The particles.
    start_angst : float64 (n_img, 2)
        Offset at which a shift is 0.

    Returns
    -------
    float64 (n_img, n_shift)
    """
    sigma2 = plan.halves[batch.half].sigma2_offset_angst2
    start, unit = start_angst - batch.origin_prior_angst, 1.0
    if plan.images.compat.mixed_offset_prior:
        unit = float(plan.optics.pixel_size_angst[batch.optics_group])
        start = start / unit
    # One axis after the other: sums over an axis of two are slow.
    x, y = (start[:, [i]] + plan.translations.coarse_angst[:, i] for i in (0, 1))
    distance2 = (x * x + y * y) * unit**2
    if sigma2 < 1e-4:
        log_prior = np.where(distance2 < 1e-6, 0.0, -np.inf)
    else:
        log_prior = -distance2 / (2 * sigma2)
    return _relative_rows(log_prior)


def nearby(plan: Plan, batch: ParticleBatch, sigma_deg: float) -> LocalSearch:
    """List the orientations near the particles' last ones.

    Parameters
    ----------
    plan
        The iteration.
    batch
        The particles.
    sigma_deg
        Width.
    """
    grid, euler_deg = plan.orientations, batch.prior_euler_deg
    if plan.images.compat.local_psi_as_number:
        return local_orientations_by_euler(grid, euler_deg, sigma_deg)
    return local_orientations(grid, euler_to_matrix(*euler_deg.T), sigma_deg)


def listed_for_classes(
    near: LocalSearch,
    classes: NDArray[np.int64],
    n_orient: int,
    shift: NDArray[np.float64],
) -> LocalPrior:
    """List every orientation of an image for each of its classes; no class is preferred.

    Parameters
    ----------
    near
        Orientations of each image.
    classes : int64 (n_img, n) classes of each image
    n_orient
        Orientations of the grid.
    shift : float64 (n_img, n_shift) log prior

    Source
    ------
    RELION convertAllSquaredDifferencesToWeights: local priors carry none of classes.
    """
    n = classes.shape[1]
    if n == 1 and not classes.any():
        return LocalPrior(near.offsets, near.orient, near.log_prior, shift)
    # An image's list comes once for each of its classes, one after the other.
    size = np.repeat(np.diff(near.offsets), n)
    start = np.repeat(near.offsets[:-1], n) - (np.cumsum(size) - size)
    place = np.arange(size.sum()) + np.repeat(start, size)
    hypothesis = np.repeat(classes.ravel() * n_orient, size) + near.orient[place]
    return LocalPrior(n * near.offsets, hypothesis, near.log_prior[place], shift)


def _relative_rows(log_prior: NDArray[np.float64]) -> NDArray[np.float64]:
    """Subtract the log of each row's mean probability (RELION's normalisation)."""
    peak = log_prior.max(axis=1, keepdims=True)
    mean = np.exp(log_prior - peak).mean(axis=1, keepdims=True)
    relative: NDArray[np.float64] = log_prior - peak - np.log(mean)
    return relative
