"""Particle tables for RELION's programs, written without our own writer."""

from __future__ import annotations

import mrcfile
import numpy as np

from relion_mpi.optics.ctf import CtfParameters

PIXEL_ANGST = 3.0


def ctf_parameters(n, seed=0):
    """Random defocus of n images at 300 kV."""
    rng = np.random.default_rng(seed)
    u = rng.uniform(8000, 20000, n)
    return CtfParameters(
        u, u - rng.uniform(0, 1500, n), rng.uniform(0, 180, n), np.full(n, 300.0),
        np.full(n, 2.7), np.full(n, 0.1), np.zeros(n), np.ones(n), np.zeros(n),
    )  # fmt: skip


def write_map(path, volume):
    with mrcfile.new(path, data=volume.astype(np.float32), overwrite=True) as handle:
        handle.voxel_size = PIXEL_ANGST


def write_particles(path, box, eulers, offsets_angst, ctf, stack=None, magnification=None):
    """Write a RELION 3.1 table; the digits are enough for a double."""
    optics = {
        "OpticsGroupName": "a", "OpticsGroup": 1, "Voltage": 300, "SphericalAberration": 2.7,
        "AmplitudeContrast": 0.1, "ImagePixelSize": PIXEL_ANGST, "ImageSize": box,
        "ImageDimensionality": 2,     }  # fmt: skip
    if magnification is not None:
        labels = ("MagMat00", "MagMat01", "MagMat10", "MagMat11")
        optics |= dict(zip(labels, np.ravel(magnification), strict=True))
    rows = []
    for i, (angles, offset) in enumerate(zip(eulers, offsets_angst, strict=True)):
        row = dict(zip(("AngleRot", "AngleTilt", "AnglePsi"), angles, strict=True))
        row |= {"OriginXAngst": offset[0], "OriginYAngst": offset[1], "OpticsGroup": 1}
        row |= {"DefocusU": ctf.defocus_u_angst[i], "DefocusV": ctf.defocus_v_angst[i]}
        row |= {"DefocusAngle": ctf.defocus_angle_deg[i]}
        row |= {"ImageName": f"{i + 1:06d}@{stack}"} if stack else {}
        rows.append(row)
    text = ""
    for table, lines in (("optics", [optics]), ("particles", rows)):
        text += f"\ndata_{table}\n\nloop_\n"
        text += "".join(f"_rln{label} #{i}\n" for i, label in enumerate(lines[0], 1))
        text += "".join(" ".join(map(str, line.values())) + "\n" for line in lines)
    path.write_text(text)
