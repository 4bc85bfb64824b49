"""How many particles a batch has."""

from __future__ import annotations

import numpy as np

CPU_BATCHES, CPU_SIZES, CPU_PIXELS = 64, (16, 64), 4_000_000
GPU_BATCHES, GPU_SIZES, GPU_PIXELS = 48, (64, 2048), 130_000_000
"""Batches wanted, least and most particles in one, pixels in one."""


def batch_size_for(n_particles: int, box_size: int, *, on_gpu: bool = False) -> int:
    """Choose a batch size from the data alone, so that results do not depend on the ranks.

    Parameters
    ----------
    n_particles, box_size
        Of the data set.
    on_gpu
        GPUs want larger batches: a launch costs the same for one image and for a thousand.
    """
    wanted, (least, most), pixels = (
        (GPU_BATCHES, GPU_SIZES, GPU_PIXELS) if on_gpu else (CPU_BATCHES, CPU_SIZES, CPU_PIXELS)
    )
    fit = max(8, pixels // box_size**2)
    return int(np.clip(n_particles // wanted, least, min(most, fit)))
