"""Micrographs of noise on a slope, their STAR file, and coordinates of a few particles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from relion_mpi.io.mrc import write_map
from relion_mpi.io.star import read_star, write_star

NX, NY, PIXEL = 150, 120, 1.5
XY = np.array([(75, 60), (20.4, 30.9), (3.7, 50.2), (-2.6, 118.9), (140, 110), (149.5, 0)])
"""Some near the edges, some just outside."""
GROUPS = {
    "rlnOpticsGroupName": ["opticsGroup1", "other"], "rlnOpticsGroup": [1, 2],
    "rlnMicrographOriginalPixelSize": [PIXEL] * 2, "rlnVoltage": [300.0] * 2,
    "rlnSphericalAberration": [2.7] * 2, "rlnAmplitudeContrast": [0.1] * 2,
    "rlnMicrographPixelSize": [PIXEL] * 2,
}  # fmt: skip


def micrograph(seed=0):
    """Noise of deviation 3 about a slope."""
    y, x = np.mgrid[:NY, :NX]
    noise = np.random.default_rng(seed).normal(0, 3, (NY, NX))
    return (7 + 0.05 * x - 0.02 * y + noise).astype(np.float32)


def micrograph_project(n=2, xy=XY, suffix="_pick.star"):
    """Write n micrographs below the present folder; their pixels are returned by name."""
    for folder in ("Mics", "Picks/Mics"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    images = {f"Mics/mic{k}.mrc": micrograph(k) for k in range(n)}
    for k, (name, image) in enumerate(images.items()):
        write_map(name, image, PIXEL)
        picked = pl.DataFrame({
            "rlnCoordinateX": xy[:, 0], "rlnCoordinateY": xy[:, 1],
            "rlnAutopickFigureOfMerit": np.linspace(1, 0.1, len(xy)) + k,
        })  # fmt: skip
        write_star(f"Picks/Mics/mic{k}{suffix}", {"": picked})
    rows = {
        "rlnMicrographName": list(images), "rlnOpticsGroup": [1 + k % 2 for k in range(n)],
        "rlnCtfImage": ["ctf.ctf:mrc"] * n, "rlnDefocusU": 12000.5 + 100 * np.arange(n),
        "rlnDefocusV": 11000.25 + 100 * np.arange(n), "rlnCtfAstigmatism": [1000.25] * n,
        "rlnDefocusAngle": [30.0] * n, "rlnCtfFigureOfMerit": [0.2] * n,
        "rlnCtfMaxResolution": [4.5] * n, "rlnPhaseShift": 10.0 * np.arange(n),
    }  # fmt: skip
    blocks = {"optics": pl.DataFrame(GROUPS), "micrographs": pl.DataFrame(rows)}
    write_star("micrographs.star", blocks)
    return images


def refined_star(extracted, path="refined_data.star", seed=3, **changes):
    """Give extracted particles poses, as a refinement would; shuffled."""
    blocks = read_star(extracted)
    particles, rng = blocks["particles"], np.random.default_rng(seed)
    n = particles.height
    found = {
        "rlnAngleRot": rng.uniform(-180, 180, n), "rlnAngleTilt": rng.uniform(0, 180, n),
        "rlnAnglePsi": rng.uniform(-180, 180, n), "rlnOriginXAngst": rng.normal(0, 4, n),
        "rlnOriginYAngst": rng.normal(0, 4, n), "rlnClassNumber": np.ones(n, int),
        "rlnDefocusU": 15000.0 + np.arange(n),
    }  # fmt: skip
    # Few enough digits for RELION's tables to hold them.
    columns = [pl.Series(k, np.round(v, 3) if v.dtype == float else v) for k, v in found.items()]
    table = particles.with_columns(columns)[rng.permutation(n)].with_columns(**changes)
    write_star(path, {"optics": blocks["optics"], "particles": table})
    return table
