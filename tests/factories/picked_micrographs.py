"""Micrographs of known truth: shapes made of Gaussians, turned and placed exactly, and noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from relion_mpi.io.mrc import write_map
from relion_mpi.io.star import write_star
from relion_mpi.optics.ctf import CtfParameters, ctf

if TYPE_CHECKING:
    from pathlib import Path

ANGPIX = 3.0
BOX = 40
# (x, y, spread, weight) in pixels: no symmetry, and two shapes that are not alike.
SHAPES = (
    ((-7.0, -4.0, 3.0, 1.0), (6.0, -5.0, 2.5, 0.8), (1.0, 8.0, 3.5, 1.2), (8.0, 4.0, 2.0, 0.6)),
    ((-10.0, 0.0, 2.5, 1.0), (0.0, 0.0, 3.0, 1.1), (10.0, 3.0, 2.5, 1.3)),
)


@dataclass(frozen=True)
class Placed:
    """A particle: where it is, its shape from 0, its angle in degrees."""

    x: float
    y: float
    shape: int
    psi: float


def drawn(shape, psi_deg, centre, size):
    """Draw a shape turned by psi around a centre (x, y) in an image of size (y, x)."""
    c, s = np.cos(np.radians(psi_deg)), np.sin(np.radians(psi_deg))
    y, x = np.arange(size[0])[:, None], np.arange(size[1])[None, :]
    image = np.zeros(size)
    for px, py, spread, weight in SHAPES[shape]:
        # A point p of the template is seen at A p, A the rotation of the axes by psi.
        qx, qy = c * px + s * py + centre[0], -s * px + c * py + centre[1]
        image += weight * np.exp(-((x - qx) ** 2 + (y - qy) ** 2) / (2 * spread**2))
    return image


def templates(n=2):
    """Shapes at psi = 0, float32 (n, BOX, BOX)."""
    middle = BOX // 2, BOX // 2
    return np.stack([drawn(k, 0.0, middle, (BOX, BOX)) for k in range(n)]).astype(np.float32)


def placed(size, seed=0, spacing=46, n_shape=2, step=10.0):
    """Particles on a jittered lattice, their angles multiples of a step."""
    rng = np.random.default_rng(seed)
    found = []
    for y in np.arange(32, size[0] - 32, spacing):
        for x in np.arange(32, size[1] - 32, spacing):
            where = np.array([x, y]) + rng.uniform(-2.5, 2.5, 2)
            psi = step * rng.integers(0, round(360 / step))
            found.append(Placed(*where, int(rng.integers(n_shape)), float(psi)))
    return found


def optics(defocus=(12000.0, 11000.0, 30.0)):
    one = [np.array([v]) for v in (*defocus, 300.0, 2.7, 0.1, 0.0, 1.0, 0.0)]
    return CtfParameters(*one)


def with_ctf(image, params):
    fy, fx = np.fft.fftfreq(image.shape[0]) / ANGPIX, np.fft.rfftfreq(image.shape[1]) / ANGPIX
    y, x = np.meshgrid(fy, fx, indexing="ij")
    values = ctf(params, x.ravel(), y.ravel())[0].reshape(x.shape)
    return np.fft.irfft2(np.fft.rfft2(image) * values, s=image.shape)


def micrograph(particles, size, noise=1.0, seed=1, params=None):
    """Dark particles on bright noise, float32 (y, x)."""
    image = np.zeros(size)
    for one in particles:
        image += drawn(one.shape, one.psi, (one.x, one.y), size)
    if params is not None:
        image = with_ctf(image, params)
    image += np.random.default_rng(seed).normal(0.0, noise, size)
    return (100.0 - 7.0 * image).astype(np.float32)


def write_set(folder: Path, images, params=None, name="mic{}.mrc"):
    """Write micrographs, their STAR file, and templates.mrcs; return the STAR file."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [str(folder / name.format(k + 1)) for k in range(len(images))]
    for path, image in zip(names, images, strict=True):
        write_map(path, image, ANGPIX)
    write_map(folder / "templates.mrcs", templates(), ANGPIX, stack=True)
    optics_table = pl.DataFrame({
        "rlnOpticsGroupName": ["one"], "rlnOpticsGroup": [1], "rlnVoltage": [300.0],
        "rlnSphericalAberration": [2.7], "rlnAmplitudeContrast": [0.1],
        "rlnMicrographPixelSize": [ANGPIX],
    })  # fmt: skip
    columns = {"rlnMicrographName": names, "rlnOpticsGroup": [1] * len(names)}
    if params is not None:
        columns["rlnDefocusU"] = [float(params.defocus_u_angst[0])] * len(names)
        columns["rlnDefocusV"] = [float(params.defocus_v_angst[0])] * len(names)
        columns["rlnDefocusAngle"] = [float(params.defocus_angle_deg[0])] * len(names)
    star = folder / "micrographs.star"
    write_star(star, {"optics": optics_table, "micrographs": pl.DataFrame(columns)})
    return star
