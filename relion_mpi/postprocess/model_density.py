"""An atomic model as a map on the grid of another."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.atoms.models import model_in_place
from relion_mpi.atoms.scatterers import density
from relion_mpi.core.errors import InputError
from relion_mpi.core.progress import Progress
from relion_mpi.io.mrc import read_header

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

log = logging.getLogger(__name__)

_ENDS = (".cif", ".mmcif", ".pdb", ".ent")
_LARGEST_STEP = 1.0
"""Exponents B / 4 s^2 at Nyquist are tabulated this far apart: amplitudes of single atoms are then
within 12 % there, all to one side, and within 1 % at half of Nyquist."""


def is_model(path: Path) -> bool:
    """Tell by its name whether a file is an atomic model.

    Parameters
    ----------
    path
        .cif, .mmcif, .pdb or .ent, also with .gz.

    Returns
    -------
    bool
    """
    return path.name.lower().removesuffix(".gz").endswith(_ENDS)


def model_density(
    model: Path, like: Path, box_size: int, pixel_size_angst: float
) -> NDArray[np.float32]:
    """Evaluate a model on the grid of a map.

    Parameters
    ----------
    model
        mmCIF or PDB file, in the map's frame.
    like
        The map; its header says where voxel 0 lies.
    box_size
        Of the map, voxels.
    pixel_size_angst
        Of the map, Angstrom.

    Returns
    -------
    float32 (box_size,) * 3
        Electron scattering factors, each atom with its B-factor and occupancy; up to Nyquist.

    Raises
    ------
    InputError
        The model cannot be read, or lies outside of the map.
    """
    nyquist = 0.5 / pixel_size_angst
    scatterers = model_in_place(model, 4.0 * _LARGEST_STEP / nyquist**2)
    origin = np.array(read_header(like).origin_angst)
    side = box_size * pixel_size_angst
    # Voxel i reaches from i - 1/2 to i + 1/2.
    placed = scatterers.position_angst - origin + 0.5 * pixel_size_angst
    inside = ((placed >= 0) & (placed < side)).all(axis=1)
    share = float(scatterers.weight[inside].sum() / scatterers.weight.sum())
    if not inside.any():
        low, high = scatterers.position_angst.min(axis=0), scatterers.position_angst.max(axis=0)
        raise InputError(
            f"{model}: found atoms from ({_three(low)}) to ({_three(high)}) A, expected them "
            f"within the map {like}, from ({_three(origin)}) to ({_three(origin + side)}) A; fit "
            "the model into this map"
        )
    if share < 1.0:
        log.warning(
            "%s: %.3g %% of the atoms lie outside of the map %s and are left out; give a model "
            "that was fitted into this map", model, 100.0 * (1.0 - share), like,
        )  # fmt: skip
    middle = origin + (box_size // 2) * pixel_size_angst
    kept = replace(
        scatterers, position_angst=scatterers.position_angst[inside] - middle,
        weight=scatterers.weight[inside], kind=scatterers.kind[inside],
    )  # fmt: skip
    with Progress(np.unique(kept.kind).size, "Density of the model") as progress:
        return density(kept, box_size, pixel_size_angst, progress)


def _three(numbers: NDArray[np.float64]) -> str:
    return ", ".join(f"{one:.1f}" for one in numbers)
