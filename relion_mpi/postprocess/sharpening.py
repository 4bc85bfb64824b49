"""Restore high frequencies of a map: detector, FSC weights, B-factor, low-pass."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.fourier.masks import lowpass_profile
from relion_mpi.fourier.sections import mean_amplitudes, scale_by_radius, sections_of
from relion_mpi.postprocess.guinier import Guinier, LineFit, fit_line, log_amplitudes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from relion_mpi.postprocess.options import PostprocessOptions

log = logging.getLogger(__name__)

_LOWEST_FSC = 1e-4


@dataclass(frozen=True, slots=True)
class Sharpened:
    """How a map was sharpened.

    Attributes
    ----------
    guinier : amplitudes before and after
    bfactor : applied, Angstrom^2
    factor : float64 (n_squared,), all that the transform was multiplied by, by squared radius
    """

    guinier: Guinier
    bfactor: float
    factor: NDArray[np.float64]


def fsc_weights(fsc: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weigh shells by how well the mean of two half-maps correlates with the truth.

    Parameters
    ----------
    fsc : float64 (n_shell,)
        Of the half-maps.

    Returns
    -------
    float64 (n_shell,)
        sqrt(2 FSC / (1 + FSC)), 0 from the first shell with less than 0.0001.

    Source
    ------
    Rosenthal and Henderson 2003, J. Mol. Biol. 333:721; RELION
    Postprocessing::applyFscWeighting.
    """
    lost = np.flatnonzero(fsc < _LOWEST_FSC)
    last = int(lost[0]) if lost.size else fsc.size
    weights = np.zeros(fsc.size)
    weights[:last] = np.sqrt(2.0 * fsc[:last] / (1.0 + fsc[:last]))
    return weights


def mtf_factor(
    radius: NDArray[np.float64],
    box_angst: float,
    nyquist: float,
    curve: tuple[NDArray[np.float64], NDArray[np.float64]],
    mtf_angpix: float,
) -> NDArray[np.float64]:
    """Divide by the modulation transfer function of a detector.

    Parameters
    ----------
    radius : float64 (n,), shells
    box_angst
        Side of the box, Angstrom.
    nyquist
        Shell of the map's Nyquist frequency; nothing is divided from there on.
    curve : two float64 (m,)
        Frequency in 1 / pixel of the movies, ascending, and value.
    mtf_angpix
        Pixel size of the movies, Angstrom.

    Returns
    -------
    float64 (n,)

    Source
    ------
    RELION Postprocessing::divideByMtf, which takes the first value for the whole first interval.
    """
    value = np.interp(radius / box_angst * mtf_angpix, curve[0], curve[1])
    return np.where(radius < nyquist, 1.0 / value, 1.0)


def bfactor_factor(
    radius: NDArray[np.float64], box_angst: float, nyquist: float, bfactor: float
) -> NDArray[np.float64]:
    """Multiply by exp(-B / 4 s^2), 0 beyond Nyquist.

    Parameters
    ----------
    radius : float64 (n,), shells
    box_angst
        Side of the box, Angstrom.
    nyquist
        Shell.
    bfactor
        Angstrom^2, negative to sharpen.

    Returns
    -------
    float64 (n,)

    Source
    ------
    RELION applyBFactorToMap.
    """
    # Beyond Nyquist, in the corners of the box, the exponential could overflow.
    inside = np.minimum(radius, nyquist) / box_angst
    return np.where(radius <= nyquist, np.exp(-bfactor / 4.0 * inside**2), 0.0)


def lowpass_factor(
    radius: NDArray[np.float64], cutoff_shell: int, edge_shells: int
) -> NDArray[np.float64]:
    """Low-pass with a raised cosine of a chosen width.

    Parameters
    ----------
    radius : float64 (n,), shells
    cutoff_shell
        Middle of the edge.
    edge_shells
        Width, odd ones rounded down as RELION does.

    Returns
    -------
    float64 (n,)

    Source
    ------
    RELION lowPassFilterMap.
    """
    width = edge_shells - edge_shells % 2
    if width == 0:
        return (radius <= cutoff_shell).astype(np.float64)
    # The profile of edge 2, with all lengths scaled to that.
    return lowpass_profile(radius * 2.0 / width, cutoff_shell * 2.0 / width)


def sharpen(
    transform: NDArray[np.complex64],
    pixel_size_angst: float,
    fsc: NDArray[np.float64],
    options: PostprocessOptions,
    curve: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
) -> Sharpened:
    """Divide by the MTF, weight by the FSC and apply a B-factor, in place.

    Parameters
    ----------
    transform : complex64 (n, n, n // 2 + 1)
        Of the mean of the half-maps.
    pixel_size_angst
        Angstrom.
    fsc : float64 (n // 2 + 1,)
        Corrected.
    options
        What was asked for.
    curve
        MTF, or None.

    Returns
    -------
    Sharpened
    """
    box_size = transform.shape[0]
    box_angst, nyquist = box_size * pixel_size_angst, float(box_size // 2)
    sections = sections_of(box_size)
    radius = sections.radius()
    squared = (np.arange(fsc.size) / box_angst) ** 2
    amplitudes = mean_amplitudes(transform)
    original, factor = log_amplitudes(amplitudes), np.ones(radius.size)
    corrected = weighted = sharpened = fit = None
    if curve is not None:
        movie_angpix = options.mtf_angpix if options.mtf_angpix > 0 else pixel_size_angst
        factor *= mtf_factor(radius, box_angst, nyquist, curve, movie_angpix)
        scale_by_radius(transform, factor)
        amplitudes = mean_amplitudes(transform)
        corrected = log_amplitudes(amplitudes)
    rest = np.ones(radius.size)
    if not options.skip_fsc_weighting:
        weights = fsc_weights(fsc)
        amplitudes = amplitudes * weights  # one weight a shell
        weighted = log_amplitudes(amplitudes)
        rest *= np.append(weights, 0.0)[sections.shell()]
    bfactor = options.adhoc_bfac
    if options.auto_bfac:
        fit = _fitted(squared, amplitudes, options)
        bfactor = 0.0 if fit is None else fit.bfactor
    if bfactor:
        rest *= bfactor_factor(radius, box_angst, nyquist, bfactor)
    scale_by_radius(transform, rest)
    if bfactor:
        sharpened = log_amplitudes(mean_amplitudes(transform))
    guinier = Guinier(squared, original, corrected, weighted, sharpened, fit)
    return Sharpened(guinier, bfactor, factor * rest)


def _fitted(
    squared: NDArray[np.float64], amplitudes: NDArray[np.float64], options: PostprocessOptions
) -> LineFit | None:
    """Fit the B-factor and tell; a map of low resolution has no shells to fit."""
    low, high = options.autob_lowres, options.autob_highres
    fit = fit_line(squared, log_amplitudes(amplitudes), low, high)
    if fit is None:
        log.warning(
            "found fewer than two shells with signal between --autob_lowres %g and "
            "--autob_highres %g A: no B-factor can be fitted, the map is not sharpened; widen the "
            "range or give --adhoc_bfac",
            low, high,
        )  # fmt: skip
        return None
    log.info("== Fitting straight line through Guinier plot to find B-factor ...")
    log.info("  + slope of fit:                  %.6g", fit.slope)
    log.info("  + intercept of fit:              %.6g", fit.intercept)
    log.info("  + correlation of fit:            %.6g", fit.correlation)
    log.info("  + apply b-factor of:             %.6g", fit.bfactor)
    return fit
