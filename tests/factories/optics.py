"""Optics groups without a file."""

from __future__ import annotations

import numpy as np
import polars as pl

from relion_mpi.dataset.optics_groups import OpticsGroups


def optics_groups(boxes=(32,), pixels=(3.0,), magnification=None, **changes):
    """One group per box, 300 kV."""
    n = len(boxes)
    matrices = np.tile(np.eye(2) if magnification is None else magnification, (n, 1, 1))
    values = {
        "number": np.arange(1, n + 1), "name": [f"group{i}" for i in range(n)],
        "voltage_kv": np.full(n, 300.0), "spherical_aberration_mm": np.full(n, 2.7),
        "amplitude_contrast": np.full(n, 0.1), "pixel_size_angst": np.array(pixels, float),
        "box_size": np.array(boxes), "beam_tilt_mrad": np.zeros((n, 2)),
        "odd_zernike": [np.zeros(0)] * n, "even_zernike": [np.zeros(0)] * n,
        "magnification": matrices, "ctf_premultiplied": np.zeros(n, bool),
        "table": pl.DataFrame(),
    }  # fmt: skip
    return OpticsGroups(**(values | changes))
