"""Images weighted for scoring, at every shift of a grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from relion_mpi.backend.cpu.project import FAST

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray


def phase_table(
    shifts_pix: NDArray[np.float64],
    x: NDArray[np.int32],
    y: NDArray[np.int32],
    box_size: int,
    dtype: DTypeLike,
) -> NDArray[np.floating[Any]]:
    """Make the factors exp(-2 pi i k.t / N) that move image content by t.

    Parameters
    ----------
    shifts_pix : float64 (n_shift, 2) as (x, y)
    x, y : int32 (n_pix,)
    box_size
        Side of the whole image.
    dtype
        float32 or float64.

    Returns
    -------
    dtype (n_shift, 2, n_pix)
        Cosines and (negative) sines.
    """
    table: NDArray[np.floating[Any]] = np.empty((shifts_pix.shape[0], 2, x.size), dtype)
    for shift, (cos, sin) in zip(shifts_pix, table, strict=True):  # angles are float64: few at once
        angle = (-2.0 * np.pi / box_size) * (shift[0] * x + shift[1] * y)
        cos[...], sin[...] = np.cos(angle), np.sin(angle)
    return table


@numba.njit(cache=True, fastmath=FAST)
def weighted_shift(parts, phase, factor, n_pix, re, im):  # type: ignore[no-untyped-def]
    """Write factor * parts * phase for the leading n_pix pixels into re and im."""
    for k in range(n_pix):
        a, b = parts[0, k], parts[1, k]
        c, s = phase[0, k], phase[1, k]
        f = factor[k]
        re[k] = f * (a * c - b * s)
        im[k] = f * (a * s + b * c)


@numba.njit(cache=True, parallel=True, fastmath=FAST)
def shifted_images(parts, phases, ctf, inv_sigma2, n_pix, out):  # type: ignore[no-untyped-def]
    """Write CTF * image / sigma2 at every shift, as rows [real | imaginary].

    Parameters
    ----------
    parts : float (n_img, 2, >= n_pix)
    phases : float (n_shift, 2, >= n_pix)
    ctf : float (n_img, >= n_pix)
    inv_sigma2 : float (>= n_pix,)
    out : float (n_img, n_shift, 2 * n_pix)
    """
    for i in numba.prange(parts.shape[0]):
        factor = ctf[i, :n_pix] * inv_sigma2[:n_pix]
        for t in range(phases.shape[0]):
            weighted_shift(parts[i], phases[t], factor, n_pix, out[i, t, :n_pix], out[i, t, n_pix:])
