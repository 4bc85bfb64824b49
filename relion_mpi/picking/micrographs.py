"""The micrographs of a job, their pixel sizes and contrast transfer functions."""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.dataset.checks import check_defocus, check_microscope
from relion_mpi.dataset.columns import Table
from relion_mpi.io.mrc import read_header
from relion_mpi.io.star import read_star
from relion_mpi.optics.ctf import CtfParameters, ctf_coefficients

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAME = "rlnMicrographName"
_JOB = re.compile(r"^[A-Za-z0-9_]+/job\d{3,}/")
_PIXEL_SIZES = ("rlnMicrographPixelSize", "rlnMicrographOriginalPixelSize")
_MICROSCOPE = {"rlnVoltage": 200.0, "rlnSphericalAberration": 0.0, "rlnAmplitudeContrast": 0.0}


@dataclass(frozen=True, slots=True)
class Micrograph:
    """One micrograph.

    Attributes
    ----------
    name : as given
    path : where it is
    shape : (y, x)
    pixel_size_angst : Angstrom
    ctf : float64 (8,) of `relion_mpi.optics.ctf.ctf_coefficients`; None where it is not known
    """

    name: str
    path: Path
    shape: tuple[int, int]
    pixel_size_angst: float
    ctf: NDArray[np.float64] | None

    def output(self, folder: Path, ending: str) -> Path:
        """Return the path of an output, its folders as the micrograph's within its job.

        Parameters
        ----------
        folder
            Of the job.
        ending
            Such as "_autopick.star".
        """
        inner = Path(_JOB.sub("", self.name))
        if inner.is_absolute() or ".." in inner.parts:
            inner = Path(inner.name)
        return folder / inner.with_name(f"{inner.stem}{ending}")


def read_micrographs(
    given: str, angpix: float = 0.0, *, need_ctf: bool = False
) -> list[Micrograph]:
    """List the micrographs.

    Parameters
    ----------
    given
        STAR file, MRC file, or a pattern.
    angpix
        Pixel size to take in place of what is written, Angstrom; 0 for none.
    need_ctf
        Whether the contrast transfer function must be known.

    Returns
    -------
    list of Micrograph
        In the order of the file, or of their names.

    Raises
    ------
    InputError
        None is there, one cannot be read, or what is needed of it is not written.
    """
    if given.endswith(".star"):
        names, sizes, ctfs = _from_star(Path(given), need_ctf=need_ctf)
    else:
        names = sorted(glob.glob(given))
        if not names:
            raise InputError(
                f"--i {given}: found no such file, expected a STAR file, a micrograph, or a "
                'pattern in quotes such as "Micrographs/*.mrc"'
            )
        if need_ctf:
            raise InputError(
                f"--i {given}: found micrographs without a CTF, expected the STAR file of a CTF "
                "estimation, as --ctf was given"
            )
        sizes, ctfs = np.zeros(len(names)), None
    if len(set(names)) < len(names):
        twice = next(name for k, name in enumerate(names) if name in names[:k])
        raise InputError(f"{given}: found {twice} twice, expected each micrograph once")
    folder = Path(given).parent
    return [
        _one(name, folder, angpix or sizes[k], None if ctfs is None else ctfs[k])
        for k, name in enumerate(names)
    ]


def _one(
    name: str, folder: Path, pixel_size_angst: float, ctf: NDArray[np.float64] | None
) -> Micrograph:
    path = Path(name) if Path(name).exists() else folder / name
    header = read_header(path if path.exists() else Path(name))
    if header.nz != 1:
        raise InputError(
            f"{path}: found {header.nz} frames, expected one image; correct for motion first"
        )
    size = float(pixel_size_angst or header.pixel_size_angst)
    if size <= 0:
        raise InputError(f"{path}: found no pixel size, neither in a STAR file; give --angpix")
    return Micrograph(name, path, (header.ny, header.nx), size, ctf)


def _from_star(
    path: Path, *, need_ctf: bool
) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64] | None]:
    blocks = {k: one for k, one in read_star(path).items() if isinstance(one, pl.DataFrame)}
    name = next((k for k, one in blocks.items() if NAME in one.columns), None)
    if name is None or blocks[name].height == 0:
        raise InputError(
            f"{path}: found no {NAME}, expected the STAR file of micrographs of an import, motion "
            "correction or CTF estimation"
        )
    frame = blocks[name]
    if "optics" in blocks and name != "optics":
        frame = _with_optics(path, frame, blocks["optics"])
    table = Table(path, name, frame, np.arange(1, frame.height + 1))
    sizes = np.zeros(frame.height)
    for label in reversed(_PIXEL_SIZES):
        if label in frame.columns:
            sizes = table.numbers(label, 0.0, finite=True)
    if "rlnMagnification" in frame.columns and not sizes.any():
        detector = table.numbers("rlnDetectorPixelSize", 0.0, finite=True)
        sizes = detector * 1e4 / table.numbers("rlnMagnification", 1.0, finite=True)
    names = frame[NAME].cast(pl.String).to_list()
    if "rlnDefocusU" not in frame.columns:
        if need_ctf:
            raise InputError(
                f"{path}: found no rlnDefocusU, expected the STAR file of a CTF estimation, as "
                "--ctf was given"
            )
        return names, sizes, None
    return names, sizes, _coefficients(table)


def _with_optics(path: Path, frame: pl.DataFrame, optics: pl.DataFrame) -> pl.DataFrame:
    """Add the columns of each row's optics group."""
    key = "rlnOpticsGroup"
    if key not in frame.columns or key not in optics.columns:
        raise InputError(f"{path}: found no {key}, expected it in both tables; write them again")
    groups = set(optics[key].to_list())
    wrong = next((one for one in frame[key].to_list() if one not in groups), None)
    if wrong is not None:
        raise InputError(f"{path}: found optics group {wrong}, expected one of table 'optics'")
    new = [one for one in optics.columns if one == key or one not in frame.columns]
    return frame.join(optics.select(new), on=key, how="left", maintain_order="left")


def _coefficients(table: Table) -> NDArray[np.float64]:
    """Return the coefficients of all rows, float64 (n, 8)."""
    check_microscope(table)

    def read(label: str, default: float) -> NDArray[np.float64]:
        return table.numbers(label, default, finite=True)

    u = read("rlnDefocusU", 0.0)
    v = read("rlnDefocusV", 0.0) if "rlnDefocusV" in table.frame.columns else u
    check_defocus(table, {"rlnDefocusU": u, "rlnDefocusV": v})
    voltage, aberration, contrast = (read(label, one) for label, one in _MICROSCOPE.items())
    parameters = CtfParameters(
        u, v, read("rlnDefocusAngle", 0.0), voltage, aberration, contrast,
        read("rlnCtfBfactor", 0.0), read("rlnCtfScalefactor", 1.0), read("rlnPhaseShift", 0.0),
    )  # fmt: skip
    return ctf_coefficients(parameters)
