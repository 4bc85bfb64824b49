"""Atomic models as scatterers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import gemmi
import numpy as np

from relion_mpi.atoms.scatterers import Scatterers, centred
from relion_mpi.core.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

log = logging.getLogger(__name__)

B_BIN_ANGST2 = 30.0


def read_model(path: Path) -> Scatterers:
    """Read the atoms of an mmCIF or PDB file (.gz too), to stand alone.

    Parameters
    ----------
    path
        File; biological assembly 1 is built where the file defines one.

    Returns
    -------
    Scatterers
        As `model_in_place`, the B-factors rounded to 30 Angstrom^2; centred on the centre of mass.

    Raises
    ------
    InputError
        No such file, unreadable, or without atoms.
    """
    return centred(model_in_place(path, B_BIN_ANGST2, rounded=True))


def model_in_place(path: Path, b_step_angst2: float, *, rounded: bool = False) -> Scatterers:
    """Read the atoms of an mmCIF or PDB file (.gz too), where the file places them.

    Parameters
    ----------
    path
        File; biological assembly 1 is built where the file defines one.
    b_step_angst2
        Step of tabulated B-factors, Angstrom^2. An atom between two steps becomes one scatterer
        of either, weighted so that their mean is its B-factor.
    rounded
        One scatterer an atom instead, of the nearest step.

    Returns
    -------
    Scatterers
        Electron scattering factors (International Tables C, 4.3.2.2); hydrogens and waters left
        out.

    Raises
    ------
    InputError
        No such file, unreadable, or without atoms.
    """
    names, values = _atoms(path)
    position, occupancy = values[:, :3], values[:, 3]
    steps = values[:, 4] / b_step_angst2
    lower = np.floor(steps).astype(np.int64)
    upper_share = (np.rint(steps) if rounded else steps) - lower
    twice = np.tile(np.arange(len(names)), 2)
    share = np.concatenate([1.0 - upper_share, upper_share])
    step = np.concatenate([lower, lower + 1])
    there = share > 0
    twice, share, step = twice[there], share[there], step[there]
    labels = [(names[i], b) for i, b in zip(twice.tolist(), step.tolist(), strict=True)]
    table = sorted(set(labels))
    row = {label: i for i, label in enumerate(table)}
    amplitude, width = [], []
    for name, b_step in table:
        a, b = _form_factor(path, name)
        amplitude.append(a)
        width.append([one + b_step * b_step_angst2 for one in b])
    kind = np.array([row[label] for label in labels], np.int64)
    log.info("%s: %d atoms", path, len(names))
    return Scatterers(
        position[twice], occupancy[twice] * share, kind, np.array(amplitude), np.array(width)
    )


def _atoms(path: Path) -> tuple[list[str], NDArray[np.float64]]:
    """Return elements, and (n, 5) positions x, y, z, occupancies and B-factors."""
    structure = _read_structure(path)
    if structure.assemblies:
        name = structure.assemblies[0].name
        structure.transform_to_assembly(name, gemmi.HowToNameCopiedChain.Dup)
        log.info("%s: biological assembly %s", path, name)
    # The assembly names subchains of the file, waters too: they must still be there.
    structure.setup_entities()
    structure.remove_waters()
    structure.remove_hydrogens()
    # gemmi's atoms live no longer than their structure.
    atoms = [site.atom for site in structure[0].all()] if len(structure) else []
    if not atoms:
        raise InputError(
            f"{path}: found no atoms besides hydrogens and waters; expected an atomic model with "
            "at least one atom"
        )
    values = [(a.pos.x, a.pos.y, a.pos.z, a.occ, a.b_iso) for a in atoms]
    return [a.element.name for a in atoms], np.array(values, np.float64)


def _read_structure(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; expected mmCIF or PDB")
    try:
        return gemmi.read_structure(str(path))
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path}: cannot be read as mmCIF or PDB ({reason}); check the file"
        ) from error


def _form_factor(path: Path, element: str) -> tuple[list[float], list[float]]:
    factor = gemmi.Element(element).c4322
    if factor is None:
        raise InputError(
            f"{path}: no electron scattering factor is known for element '{element}'; "
            "remove these atoms or name their element"
        )
    return list(factor.a), list(factor.b)
