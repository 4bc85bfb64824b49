"""cryoSPARC's particles as RELION's tables."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from scipy.spatial.transform import Rotation

from relion_mpi.core.errors import InputError
from relion_mpi.geometry.euler import matrix_to_euler
from relion_mpi.star.poses import ANGLES, ORIGINS
from relion_mpi.star.table import GROUP, GROUP_NAME, IMAGE, MICROGRAPH, OPTICS, StarTable

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from relion_mpi.star.cryosparc import CsParticles

log = logging.getLogger(__name__)

_OPTICS = {
    "rlnVoltage": "ctf/accel_kv",
    "rlnSphericalAberration": "ctf/cs_mm",
    "rlnAmplitudeContrast": "ctf/amp_contrast",
    "rlnImagePixelSize": "blob/psize_A",
}
_CTF = {
    "rlnDefocusU": ("ctf/df1_A", 1.0),
    "rlnDefocusV": ("ctf/df2_A", 1.0),
    "rlnDefocusAngle": ("ctf/df_angle_rad", 180.0 / np.pi),
    "rlnPhaseShift": ("ctf/phase_shift_rad", 180.0 / np.pi),
    "rlnCtfBfactor": ("ctf/bfactor", 1.0),
    "rlnCtfScalefactor": ("ctf/scale", 1.0),
}
_NEEDED = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
_NO_EFFECT_AT_0 = ("ctf/tilt_A", "ctf/trefoil_A", "ctf/tetra_A", "ctf/shift_A")
_POSTERIOR = re.compile(r"(alignments(?!2D)\w*)/class_posterior")


def tables_of(particles: CsParticles, image_folder: Path | None, *, invert_y: bool) -> StarTable:
    """Make the tables of a particle STAR file.

    Parameters
    ----------
    particles
        Fields of cryoSPARC.
    image_folder
        Put before the names of stacks and micrographs; None for nothing.
    invert_y
        Measure y coordinates from the other side of the micrograph.

    Returns
    -------
    StarTable
        data_optics and data_particles, rows in their order.

    Raises
    ------
    InputError
        A field that is needed is missing.

    Notes
    -----
    A pose is a rotation vector r; the rotation exp(r) takes directions in the image to those in
    the map, so that A is its transpose. Shifts are pixels that are added to the content of the
    image, as RELION's origins are. Both as in pyem's csparc2star.
    """
    columns: dict[str, Any] = {IMAGE: _image_names(particles, image_folder)}
    columns |= _places(particles, image_folder, invert_y=invert_y)
    columns |= _poses(particles)
    columns |= _ctf(particles)
    optics, group = _optics(particles)
    columns[GROUP] = group
    _say_what_is_left(particles)
    blocks = {OPTICS: optics, "particles": pl.DataFrame(columns)}
    return StarTable(particles.path, blocks, "particles")


def _image_names(particles: CsParticles, folder: Path | None) -> pl.Series:
    index = particles.field("blob/idx").astype(np.int64) + 1
    parts = pl.DataFrame(
        {"index": index, "path": _paths(particles.text("blob/path"), folder)}
    )
    number = pl.col("index").cast(pl.String).str.zfill(6)
    return parts.select(pl.format("{}@{}", number, pl.col("path")))[:, 0]


def _paths(names: NDArray[np.str_], folder: Path | None) -> pl.Series:
    series = pl.Series(names)
    if folder is None:
        return series
    return series.to_frame("path").select(pl.format("{}/{}", pl.lit(str(folder)), "path"))[:, 0]


def _places(
    particles: CsParticles, folder: Path | None, *, invert_y: bool
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "location/micrograph_path" in particles:
        found[MICROGRAPH] = _paths(particles.text("location/micrograph_path"), folder)
    else:
        log.warning(
            "%s: found no location/micrograph_path: all particles will be one group, so that scale "
            "correction has no effect; add the passthrough file", particles.path,
        )  # fmt: skip
    if {"location/center_x_frac", "location/micrograph_shape"} <= set(particles.names()):
        shape = particles.field("location/micrograph_shape").astype(np.float64)  # rows, columns
        x, y = (
            particles.field(f"location/center_{axis}_frac").astype(np.float64) for axis in "xy"
        )
        found["rlnCoordinateX"] = x * shape[:, 1]
        found["rlnCoordinateY"] = (1.0 - y if invert_y else y) * shape[:, 0]
    return found


def _poses(particles: CsParticles) -> dict[str, Any]:
    prefix, best = _alignment(particles)
    if prefix is None:
        log.info("%s: found no poses", particles.path)
        return {}

    def of(name: str) -> NDArray[Any]:
        if best is None:
            return particles.field(f"{prefix[0]}/{name}")
        stacked = np.stack([particles.field(f"{one}/{name}") for one in prefix])
        return np.asarray(stacked[best, np.arange(best.size)])

    def has(name: str) -> bool:
        return all(f"{one}/{name}" in particles for one in prefix)

    found: dict[str, Any] = {}
    pose = of("pose").astype(np.float64)
    if pose.ndim == 2:
        rotation = Rotation.from_rotvec(pose).as_matrix().transpose(0, 2, 1)
        found |= dict(zip(ANGLES, matrix_to_euler(rotation).T, strict=True))
    else:  # in the plane
        found |= dict.fromkeys(ANGLES[:2], np.zeros(pose.size)) | {ANGLES[2]: np.degrees(pose)}
    pixel = of("psize_A") if has("psize_A") else particles.field("blob/psize_A")
    shift = of("shift").astype(np.float64) * np.asarray(pixel, np.float64)[:, None]
    found |= dict(zip(ORIGINS, shift.T, strict=True))
    if has("class"):
        found["rlnClassNumber"] = of("class").astype(np.int64) + 1
    if has("split"):
        half = of("split").astype(np.int64)
        if np.unique(half).size > 1:  # else it says nothing, and would be taken for half a set
            found["rlnRandomSubset"] = half + 1
    return found


def _alignment(particles: CsParticles) -> tuple[list[str] | None, NDArray[np.intp] | None]:
    """Find whose poses count; of several classes each particle's most likely one."""
    names = particles.names()
    for prefix in ("alignments3D", "alignments2D"):
        several = [match[1] for name in names if (match := _POSTERIOR.fullmatch(name))]
        if prefix == "alignments2D" and len(several) > 1:
            posterior = np.stack([particles.field(f"{one}/class_posterior") for one in several])
            return several, np.argmax(posterior, axis=0)
        if f"{prefix}/pose" in names:
            return [prefix], None
    return None, None


def _ctf(particles: CsParticles) -> dict[str, Any]:
    found = {}
    for label, (name, factor) in _CTF.items():
        if name in particles or label in _NEEDED:
            found[label] = particles.field(name).astype(np.float64) * factor
    # A reader that finds no phase shift takes nothing for a number.
    found.setdefault("rlnPhaseShift", np.zeros(particles.n_rows))
    for name in _NO_EFFECT_AT_0:
        if name in particles and np.any(particles.field(name) != 0):
            log.warning(
                "%s: %s is not converted; refine it again in RELION", particles.path, name
            )
    if "ctf/anisomag" in particles:
        matrix = particles.field("ctf/anisomag")
        if np.any(matrix != 0) and not np.allclose(matrix, (1, 0, 0, 1)):
            log.warning("%s: ctf/anisomag is not converted", particles.path)
    return found


def _optics(particles: CsParticles) -> tuple[pl.DataFrame, pl.Series]:
    shape = particles.field("blob/shape")
    if np.any(shape[:, 0] != shape[:, 1]):
        row = int(np.argmax(shape[:, 0] != shape[:, 1]))
        raise InputError(
            f"{particles.path}, row {row + 1}: blob/shape is {shape[row].tolist()}, expected a "
            "square; extract the particles again"
        )
    exposure = "ctf/exp_group_id"
    values = {
        "exposure": particles.field(exposure).astype(np.int64) if exposure in particles
        else np.zeros(particles.n_rows, np.int64),
        **{label: _decimal(particles.field(name)) for label, name in _OPTICS.items()},
        "rlnImageSize": shape[:, 0].astype(np.int64),
    }  # fmt: skip
    rows = pl.DataFrame(values)
    groups = rows.unique(maintain_order=True)
    number = pl.int_range(1, pl.len() + 1, dtype=pl.Int64)
    numbered = groups.with_columns(number.alias(GROUP))
    group = rows.join(
        numbered, on=list(values), how="left", maintain_order="left", nulls_equal=True
    )[GROUP]
    optics = numbered.select(
        GROUP, pl.format("opticsGroup{}", number).alias(GROUP_NAME), *_OPTICS, "rlnImageSize",
        pl.lit(2).alias("rlnImageDimensionality"),
    )  # fmt: skip
    return optics, group


def _decimal(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the decimal numbers that single precision stands for, for example 1.06."""
    distinct, inverse = np.unique(values, return_inverse=True)
    plain = np.array([float(f"{value:.7g}") for value in distinct.astype(np.float64)])
    return plain[inverse.reshape(-1)]


def _say_what_is_left(particles: CsParticles) -> None:
    left = particles.unused()
    if left:
        log.info("fields that have no counterpart here: %s", ", ".join(left))
