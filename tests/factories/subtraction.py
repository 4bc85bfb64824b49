"""Noisy particles of two bodies, each known exactly, and the files of a refinement of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from factories.maps import blob_map, blob_slices
from factories.pixels import geometry, images_from
from factories.poses import random_eulers
from factories.stars import PIXEL_ANGST, ctf_parameters
from relion_mpi.geometry.euler import euler_to_matrix
from relion_mpi.io.mrc import write_map
from relion_mpi.io.mrc_stack import write_stack
from relion_mpi.io.star import write_star
from relion_mpi.optics.ctf import ctf

if TYPE_CHECKING:
    from pathlib import Path

BOX, N, APART = 32, 16, 6
SPREAD = 0.08
SEEDS = {"kept": 1, "away": 2}
AVG_NORM = 0.8
PADDING = 3
"""Oversampling of the refinement: slices are interpolated the better, the larger it is."""


@dataclass(frozen=True)
class Bodies:
    """A set in a folder; images are float64 (N, BOX, BOX).

    Attributes
    ----------
    kept, away : images of each body alone, CTF and scale included, without noise
    noise : of each image
    norm : each image is all this times the sum of these three
    """

    folder: Path
    kept: np.ndarray
    away: np.ndarray
    noise: np.ndarray
    norm: np.ndarray
    eulers: np.ndarray
    offsets_angst: np.ndarray

    @property
    def optimiser(self):
        return self.folder / "run_optimiser.star"

    @property
    def data(self):
        return self.folder / "run_data.star"

    @property
    def mask(self):
        return self.folder / "mask.mrc"

    @property
    def images(self):
        """What the stack holds."""
        return self.norm[:, None, None] * (self.kept + self.away + self.noise)


def body(name):
    """A map whose density is at x >= 0 (kept) or x < 0 (away)."""
    return np.roll(blob_map(BOX, SEEDS[name], spread=SPREAD), _place(name), axis=2)


def make_bodies(folder, *, scales=(1.0, 1.0), norms=False, halves=1, classes=1, dtype=np.float32):
    """Write particles, maps, mask and tables; two micrographs with an intensity scale each.

    Map h, k of half-set h + 1 and class k + 1 is (1 + h + 2 k) times the bodies, and so are the
    images.
    """
    rng = np.random.default_rng(3)
    eulers, params = random_eulers(N, 4), ctf_parameters(N, 5)
    offsets = rng.uniform(-6, 6, (N, 2))
    half, class_number = np.arange(N) % halves, np.arange(N) // 2 % classes
    group = np.arange(N) * 2 // N
    times = (1.0 + half + 2 * class_number) * np.array(scales)[group]
    images = {}
    pixels = geometry(BOX, pixel=PIXEL_ANGST)
    lever = np.exp(2j * np.pi / BOX / PIXEL_ANGST * (offsets @ np.stack([pixels.x, pixels.y])))
    transfer = ctf(params, pixels.freq_x, pixels.freq_y)
    matrices = euler_to_matrix(*eulers.T)
    for name, seed in SEEDS.items():
        values = blob_slices(BOX, matrices, pixels.x, pixels.y, seed, spread=SPREAD)
        seen = matrices[:, :2, 0] * _place(name)
        values = values * np.exp(-2j * np.pi / BOX * (seen @ np.stack([pixels.x, pixels.y])))
        values = values * transfer * lever * times[:, None]
        images[name] = images_from(values, pixels.x, pixels.y, BOX)
    noise = rng.normal(0, images["away"].std(), (N, BOX, BOX))
    norm = rng.uniform(0.7, 1.3, N) if norms else np.ones(N)
    made = Bodies(folder, images["kept"], images["away"], noise, norm, eulers, offsets)
    folder.mkdir(parents=True, exist_ok=True)
    _write_images(made, dtype)
    write_map(made.mask, (np.arange(BOX) >= BOX // 2) * np.ones((BOX,) * 3), PIXEL_ANGST)
    _write_data(made, params, half if halves > 1 else None, class_number, group)
    _write_models(folder, scales, halves, classes)
    return made


def _place(name):
    return APART if name == "kept" else -APART


def _write_images(made, dtype):
    write_stack(
        made.folder / "particles.mrcs", made.images, made.images.shape, np.dtype(dtype),
        PIXEL_ANGST,
    )  # fmt: skip


def _write_data(made, params, half, class_number, group):
    optics = pl.DataFrame({
        "rlnOpticsGroupName": ["a"], "rlnOpticsGroup": [1], "rlnVoltage": [300.0],
        "rlnSphericalAberration": [2.7], "rlnAmplitudeContrast": [0.1],
        "rlnImagePixelSize": [PIXEL_ANGST], "rlnImageSize": [BOX], "rlnImageDimensionality": [2],
    })  # fmt: skip
    columns = {
        "rlnImageName": [f"{k + 1:06d}@{made.folder}/particles.mrcs" for k in range(N)],
        "rlnMicrographName": [f"mic{g}.mrc" for g in group],
        "rlnOpticsGroup": [1] * N,
        "rlnDefocusU": params.defocus_u_angst, "rlnDefocusV": params.defocus_v_angst,
        "rlnDefocusAngle": params.defocus_angle_deg,
        "rlnAngleRot": made.eulers[:, 0], "rlnAngleTilt": made.eulers[:, 1],
        "rlnAnglePsi": made.eulers[:, 2], "rlnOriginXAngst": made.offsets_angst[:, 0],
        "rlnOriginYAngst": made.offsets_angst[:, 1], "rlnClassNumber": class_number + 1,
        "rlnNormCorrection": made.norm * AVG_NORM, "someOtherLabel": [f"w{k}" for k in range(N)],
    }  # fmt: skip
    if half is not None:
        columns["rlnRandomSubset"] = half + 1
    write_star(made.data, {"optics": optics, "particles": pl.DataFrame(columns)})


def _write_models(folder, scales, halves, classes):
    general = {"rlnExperimentalDataStarFile": str(folder / "run_data.star")}
    for h in range(halves):
        name = f"half{h + 1}_" if halves > 1 else ""
        maps = []
        for k in range(classes):
            maps.append(str(folder / f"run_{name}class{k + 1:03d}.mrc"))
            write_map(maps[-1], (1 + h + 2 * k) * (body("kept") + body("away")), PIXEL_ANGST)
        model = folder / f"run_{name}model.star"
        write_star(model, {
            "model_general": {
                "rlnReferenceDimensionality": 3, "rlnOriginalImageSize": BOX,
                "rlnCurrentImageSize": BOX, "rlnPixelSize": PIXEL_ANGST,
                "rlnPaddingFactor": PADDING,
                "rlnNormCorrectionAverage": AVG_NORM,
            },
            "model_classes": pl.DataFrame({"rlnReferenceImage": maps}),
            "model_groups": pl.DataFrame({
                "rlnGroupNumber": [1, 2], "rlnGroupName": ["mic0.mrc", "mic1.mrc"],
                "rlnGroupScaleCorrection": list(scales),
            }),
        })  # fmt: skip
        general["rlnModelStarFile2" if h else "rlnModelStarFile"] = str(model)
    switches = {"rlnDoCorrectNorm": 1, "rlnDoCorrectScale": 1, "rlnDoCorrectCtf": 1}
    write_star(folder / "run_optimiser.star", {"optimiser_general": general | switches})
