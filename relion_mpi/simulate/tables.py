"""The STAR files of a simulated set: what a program may know, and what is true."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from pathlib import Path

    from relion_mpi.simulate.options import SimulateOptions
    from relion_mpi.simulate.truth import Truth

TRUE_LABELS = (
    "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst",
    "rlnClassNumber",
)  # fmt: skip


def truth_blocks(options: SimulateOptions, truth: Truth, stack: Path) -> dict[str, pl.DataFrame]:
    """Make the tables with everything in them.

    Parameters
    ----------
    options
        Optics, box and pixel size.
    truth
        Values of the particles.
    stack
        Name under which programs find the images.

    Returns
    -------
    dict of DataFrame
        "optics" and "particles", for `write_star`.
    """
    return {"optics": _optics(options), "particles": _particles(truth, stack)}


def wiped(blocks: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Leave out what refinement has to find.

    Parameters
    ----------
    blocks
        What `truth_blocks` returned.

    Returns
    -------
    dict of DataFrame
    """
    return {**blocks, "particles": blocks["particles"].drop(TRUE_LABELS)}


def _optics(options: SimulateOptions) -> pl.DataFrame:
    group = np.arange(1, options.n_optics + 1)
    n = group.size
    return pl.DataFrame(
        {
            "rlnOpticsGroup": group,
            "rlnOpticsGroupName": [f"opticsGroup{g}" for g in group.tolist()],
            "rlnVoltage": np.full(n, options.voltage),
            "rlnSphericalAberration": np.full(n, options.cs),
            "rlnAmplitudeContrast": np.full(n, options.amplitude_contrast),
            "rlnMicrographOriginalPixelSize": np.full(n, options.angpix),
            "rlnImagePixelSize": np.full(n, options.angpix),
            "rlnImageSize": np.full(n, options.box),
            "rlnImageDimensionality": np.full(n, 2),
        }
    )


def _particles(truth: Truth, stack: Path) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "rlnImageName": [f"{i:06d}@{stack}" for i in range(1, truth.n + 1)],
            "rlnMicrographName": [f"mic{m + 1:05d}.mrc" for m in truth.micrograph.tolist()],
            "rlnOpticsGroup": truth.optics_group + 1,
            "rlnDefocusU": truth.ctf.defocus_u_angst,
            "rlnDefocusV": truth.ctf.defocus_v_angst,
            "rlnDefocusAngle": truth.ctf.defocus_angle_deg,
            "rlnAngleRot": truth.rot_deg,
            "rlnAngleTilt": truth.tilt_deg,
            "rlnAnglePsi": truth.psi_deg,
            "rlnOriginXAngst": truth.origin_angst[:, 0],
            "rlnOriginYAngst": truth.origin_angst[:, 1],
            "rlnClassNumber": truth.class_index + 1,
        }
    )
