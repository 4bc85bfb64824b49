"""A micrograph of known truth, with templates: for benchmarks of picking.

Particles are projections of a made-up protein in random directions, on a jittered lattice, times
the CTF of the whole micrograph, in white noise.
"""

import numpy as np
import polars as pl

from relion_mpi.io.mrc import write_map
from relion_mpi.io.star import write_star
from relion_mpi.optics.ctf import CtfParameters, ctf
from relion_mpi.picking.references import projections
from relion_mpi.simulate.options import SimulateOptions
from relion_mpi.simulate.sources import true_maps

ANGPIX = 1.62
BOX = 200
DEFOCUS_ANGST = 18000.0


def templates(n):
    """Projections of a made-up protein, float32 (n, BOX, BOX), mean 0 and deviation 1."""
    volume = true_maps(SimulateOptions(o="unused", box=BOX // 2, angpix=2 * ANGPIX))[0]
    images = projections(np.repeat(np.repeat(np.repeat(volume, 2, 0), 2, 1), 2, 2), 1, "C1")
    chosen = images[:: max(len(images) // n, 1)][:n]
    mean, spread = (f((1, 2), keepdims=True) for f in (chosen.mean, chosen.std))
    return ((chosen - mean) / spread).astype(np.float32)


def micrograph(images, side, snr, seed=1):
    """Place turned templates; returns float32 (side, side) and where they are, (n, 2) as (x, y)."""
    from scipy.ndimage import rotate

    rng = np.random.default_rng(seed)
    clean, half, where = np.zeros((side, side), np.float32), BOX // 2, []
    for y in range(BOX, side - BOX, BOX):
        for x in range(BOX, side - BOX, BOX):
            cx, cy = x + rng.integers(-20, 21), y + rng.integers(-20, 21)
            turned = rotate(images[rng.integers(len(images))], rng.uniform(0, 360), reshape=False,
                            order=1)  # fmt: skip
            clean[cy - half : cy + half, cx - half : cx + half] += turned
            where.append((cx, cy))
    values = (DEFOCUS_ANGST, DEFOCUS_ANGST, 0.0, 300.0, 2.7, 0.1, 0.0, 1.0, 0.0)
    one = [np.array([value]) for value in values]
    fy, fx = np.fft.fftfreq(side) / ANGPIX, np.fft.rfftfreq(side) / ANGPIX
    transform = np.fft.rfft2(clean)
    for row, y in zip(transform, fy, strict=True):
        row *= ctf(CtfParameters(*one), fx, np.full(fx.size, y))[0]
    clean = np.fft.irfft2(transform, s=(side, side))
    noise = rng.normal(0.0, clean.std() / np.sqrt(snr), clean.shape)
    return (-clean - noise).astype(np.float32), np.array(where, float)


def write_set(folder, n_template=8, side=4096, snr=0.02):
    """Write micrograph, templates, truth and their STAR files; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    images = templates(n_template)
    image, where = micrograph(images, side, snr)
    write_map(folder / "mic1.mrc", image, ANGPIX)
    write_map(folder / "templates.mrcs", images, ANGPIX, stack=True)
    write_star(folder / "mic1_truth.star", {"": pl.DataFrame({
        "rlnCoordinateX": where[:, 0], "rlnCoordinateY": where[:, 1],
    })})  # fmt: skip
    optics = pl.DataFrame({
        "rlnOpticsGroupName": ["one"], "rlnOpticsGroup": [1], "rlnVoltage": [300.0],
        "rlnSphericalAberration": [2.7], "rlnAmplitudeContrast": [0.1],
        "rlnMicrographPixelSize": [ANGPIX], "rlnMicrographOriginalPixelSize": [ANGPIX],
    })  # fmt: skip
    rows = pl.DataFrame({
        "rlnMicrographName": ["mic1.mrc"], "rlnOpticsGroup": [1], "rlnDefocusU": [DEFOCUS_ANGST],
        "rlnDefocusV": [DEFOCUS_ANGST], "rlnDefocusAngle": [0.0],
    })  # fmt: skip
    write_star(folder / "micrographs.star", {"optics": optics, "micrographs": rows})
    return folder
