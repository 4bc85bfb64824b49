"""Small asymmetric maps whose transforms are known."""

from __future__ import annotations

import numpy as np


def blobs(box, seed=0, *, n=7, sigma_pix=1.5, spread=0.22):
    """Centres (n, 3) as x, y, z, weights (n,) and width of Gaussians well within a box."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-spread, spread, (n, 3)) * box, rng.uniform(0.5, 1.5, n), sigma_pix


def blob_map(box, seed=0, **kwargs):
    """Sum of Gaussians, float64 (box, box, box)."""
    centres, weights, sigma = blobs(box, seed, **kwargs)
    axis = np.arange(box) - box // 2
    out = np.zeros((box,) * 3)
    for (x, y, z), weight in zip(centres, weights, strict=True):
        parts = [np.exp(-((axis - c) ** 2) / (2 * sigma**2)) for c in (z, y, x)]
        out += weight * np.einsum("i,j,k->ijk", *parts)
    return out


def blob_image(box, seed=0, **kwargs):
    """The map's projection along z, float64 (box, box); `blob_slices` are its slices, too."""
    return blob_map(box, seed, **kwargs).sum(axis=0)


def blob_slices(box, matrices, kx, ky, seed=0, **kwargs):
    """Exact slices of the Gaussians, divided by box^2 as backends do, complex (n, n_pix)."""
    centres, weights, sigma = blobs(box, seed, **kwargs)
    seen = np.einsum("nij,cj->nci", matrices[:, :2], centres)
    phase = np.exp(-2j * np.pi / box * (seen[..., :1] * kx + seen[..., 1:] * ky))
    envelope = np.exp(-2 * (np.pi * sigma / box) ** 2 * (kx**2 + ky**2))
    volume = (2 * np.pi * sigma**2) ** 1.5
    return np.einsum("c,ncp->np", weights, phase) * envelope * volume / box**2
