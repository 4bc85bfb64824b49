"""The optics of projections and images as RELION's own programs apply them."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import mrcfile
import numpy as np
import pytest

from relion_mpi.optics.aberrations import (
    even_zernike_gamma_offset,
    odd_zernike_phase,
    phase_shift_of_beam_tilt,
)
from relion_mpi.optics.ctf import CtfParameters, ctf, electron_wavelength_angst

if TYPE_CHECKING:
    from pathlib import Path

BOX, PIXEL_ANGST = 32, 3.0
OPTICS = {
    "OpticsGroupName": "a", "OpticsGroup": 1, "Voltage": 300, "SphericalAberration": 2.7,
    "AmplitudeContrast": 0.1, "ImagePixelSize": PIXEL_ANGST, "ImageSize": BOX,
    "ImageDimensionality": 2,
}  # fmt: skip
PARTICLE = {
    "OriginXAngst": 0, "OriginYAngst": 0, "OpticsGroup": 1, "DefocusU": 15000,
    "DefocusV": 14000, "DefocusAngle": 30,
}  # fmt: skip
FREQUENCY = np.fft.fftfreq(BOX, PIXEL_ANGST)
FREQ_Y, FREQ_X = (f.ravel() for f in np.meshgrid(FREQUENCY, FREQUENCY, indexing="ij"))
# RELION writes float32 images and treats the Nyquist rows apart.
INSIDE = np.hypot(FREQ_X, FREQ_Y) < 0.45 / PIXEL_ANGST
ODD = [3.0, -5.0, 20.0, 100.0, -200.0, 300.0]

pytestmark = [
    pytest.mark.relion,
    pytest.mark.skipif(shutil.which("relion_project") is None, reason="RELION is not installed"),
]


def write_star(path: Path, optics: dict, particles: list[dict]) -> None:
    text = ""
    for table, rows in (("optics", [optics]), ("particles", particles)):
        text += f"\ndata_{table}\n\nloop_\n"
        text += "".join(f"_rln{label} #{i}\n" for i, label in enumerate(rows[0], 1))
        text += "".join(" ".join(map(str, row.values())) + "\n" for row in rows)
    path.write_text(text)


def parameters(**changes: float) -> CtfParameters:
    values = {
        "defocus_u_angst": 15000, "defocus_v_angst": 14000, "defocus_angle_deg": 30,
        "voltage_kv": 300, "spherical_aberration_mm": 2.7, "amplitude_contrast": 0.1,
        "bfactor_angst2": 0, "scale": 1, "phase_shift_deg": 0,
    } | changes  # fmt: skip
    return CtfParameters(**{name: np.array([value], float) for name, value in values.items()})


def project(folder: Path, optics: dict, particle: dict, *flags: str) -> np.ndarray:
    """Return the transform of RELION's projection of two points, complex (box * box,)."""
    points = np.zeros((BOX, BOX, BOX), np.float32)
    points[BOX // 2, BOX // 2, BOX // 2] = 1.0
    points[BOX // 2 + 3, BOX // 2 - 2, BOX // 2 + 1] = 0.5
    with mrcfile.new(folder / "map.mrc", data=points, overwrite=True) as handle:
        handle.voxel_size = PIXEL_ANGST
    pose = {"AngleRot": 10, "AngleTilt": 20, "AnglePsi": 30}
    write_star(folder / "pose.star", OPTICS | optics, [pose | PARTICLE | particle])
    command = ["relion_project", "--i", "map.mrc", "--ang", "pose.star", "--o", "out", *flags]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    image = mrcfile.read(folder / "out.mrcs").reshape(BOX, BOX).astype(np.float64)
    return np.fft.fft2(np.fft.ifftshift(image)).ravel()


def assert_projection(folder: Path, expected_ctf: np.ndarray, optics: dict, particle: dict) -> None:
    plain = project(folder, optics, particle)
    with_ctf = project(folder, optics, particle, "--ctf")
    error = np.abs(with_ctf - plain * expected_ctf[0])[INSIDE].max()
    assert error < 1e-6 * np.abs(plain).max()


def test_ctf(tmp_path: Path):
    assert_projection(tmp_path, ctf(parameters(), FREQ_X, FREQ_Y), {}, {})


def test_bfactor_scale_and_phase_shift(tmp_path: Path):
    params = parameters(bfactor_angst2=50, scale=0.7, phase_shift_deg=90)
    labels = {"CtfBfactor": 50, "CtfScalefactor": 0.7, "PhaseShift": 90}
    assert_projection(tmp_path, ctf(params, FREQ_X, FREQ_Y), {}, labels)


def test_symmetric_aberrations(tmp_path: Path):
    even = [0.3, 20, -15, 10, 300, -200, 1000, 500, 100]
    offset = even_zernike_gamma_offset(FREQ_X, FREQ_Y, even)
    expected = ctf(parameters(), FREQ_X, FREQ_Y, gamma_offset=offset)
    label = {"EvenZernike": "[" + ",".join(map(str, even)) + "]"}
    assert_projection(tmp_path, expected, label, {})


def test_anisotropic_magnification(tmp_path: Path):
    matrix = np.array([[1.05, 0.02], [0.01, 0.97]])
    labels = dict(zip(("MagMat00", "MagMat01", "MagMat10", "MagMat11"), matrix.flat, strict=True))
    expected = ctf(parameters(), FREQ_X, FREQ_Y, magnification=matrix)
    assert_projection(tmp_path, expected, labels, {})


def reconstruct(folder: Path, name: str, images: np.ndarray, optics: dict) -> np.ndarray:
    """Return RELION's reconstruction from images at fixed random orientations."""
    rng = np.random.default_rng(8)
    with mrcfile.new(folder / f"{name}.mrcs", data=images.astype(np.float32)) as handle:
        handle.voxel_size = PIXEL_ANGST
    rows = []
    for i in range(len(images)):
        rot, psi = rng.uniform(-180, 180, 2)
        tilt = np.degrees(np.arccos(rng.uniform(-1, 1)))
        image = f"{i + 1:06d}@{name}.mrcs"
        pose = {"AngleRot": rot, "AngleTilt": tilt, "AnglePsi": psi}
        rows.append({"ImageName": image} | pose | PARTICLE)
    write_star(folder / f"{name}.star", OPTICS | optics, rows)
    command = ["relion_reconstruct", "--i", f"{name}.star", "--o", f"{name}.mrc", "--ctf"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return mrcfile.read(folder / f"{name}.mrc").astype(np.float64)


@pytest.mark.parametrize("kind", ["beam_tilt", "odd_zernike"])
def test_antisymmetric_aberrations_are_taken_out_of_images(tmp_path: Path, kind: str):
    if kind == "beam_tilt":
        wavelength = float(electron_wavelength_angst(300.0))
        phase = phase_shift_of_beam_tilt(FREQ_X, FREQ_Y, (2.0, -1.0), wavelength, 2.7)
        labels: dict = {"BeamTiltX": 2, "BeamTiltY": -1}
    else:
        phase = odd_zernike_phase(FREQ_X, FREQ_Y, ODD)
        labels = {"OddZernike": "[" + ",".join(map(str, ODD)) + "]"}
    low_pass = (np.hypot(FREQ_X, FREQ_Y) < 0.38 / PIXEL_ANGST).reshape(BOX, BOX)
    noise = np.random.default_rng(9).normal(size=(20, BOX, BOX))
    noise_ft = np.fft.fft2(noise) * low_pass  # centre at index [0]
    images = np.fft.fftshift(np.fft.ifft2(noise_ft).real, axes=(1, 2))
    undone_ft = noise_ft * np.exp(-1j * phase).reshape(BOX, BOX)
    undone = np.fft.fftshift(np.fft.ifft2(undone_ft).real, axes=(1, 2))

    theirs = reconstruct(tmp_path, "aberrated", images, labels)
    ours = reconstruct(tmp_path, "undone", undone, {})
    untouched = reconstruct(tmp_path, "untouched", images, {})
    assert np.linalg.norm(theirs - untouched) > 0.05 * np.linalg.norm(theirs)
    assert np.linalg.norm(theirs - ours) < 1e-4 * np.linalg.norm(theirs)  # float32 files
