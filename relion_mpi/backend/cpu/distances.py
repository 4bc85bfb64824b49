"""Squared distances between slices of one reference, shell by shell."""

from __future__ import annotations

import numba
import numpy as np

from relion_mpi.backend.cpu.project import slice_into, slice_scratch


@numba.njit(cache=True, parallel=True)
def distances(volume, size, reach, first, second, sx, sy, weight, shell, out):  # type: ignore[no-untyped-def]
    """Sum weight * |P(first) - P(second)|^2 over the pixels of each shell.

    Parameters
    ----------
    volume, size, reach, sx, sy : as of `relion_mpi.backend.cpu.project.slice_into`
    first : float (n, 6), second : float (n, n_trial, 6), as `rotation_rows` makes them
    weight : float64 (n, n_pix)
    shell : int64 (n_pix,)
    out : float64 (n, n_trial, n_shell)
    """
    n, n_trial = second.shape[:2]
    n_pix = shell.size
    for i in numba.prange(n):
        scratch = slice_scratch(volume, n_pix)
        re, im = np.empty((2, n_pix), volume.dtype)
        there_re, there_im = np.empty((2, n_pix), volume.dtype)
        slice_into(volume, size, reach, first[i], sx, sy, n_pix, re, im, scratch)
        for t in range(n_trial):
            slice_into(
                volume, size, reach, second[i, t], sx, sy, n_pix, there_re, there_im, scratch
            )
            out[i, t] = 0.0
            for k in range(n_pix):
                along, across = there_re[k] - re[k], there_im[k] - im[k]
                out[i, t, shell[k]] += weight[i, k] * (along * along + across * across)
