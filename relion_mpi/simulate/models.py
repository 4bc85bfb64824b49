"""Atomic models as scatterers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import gemmi
import numpy as np

from relion_mpi.core.errors import InputError
from relion_mpi.simulate.scatterers import Scatterers, centred

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

B_BIN_ANGST2 = 30.0


def read_model(path: Path) -> Scatterers:
    """Read the atoms of an mmCIF or PDB file (.gz too).

    Parameters
    ----------
    path
        File; biological assembly 1 is built where the file defines one.

    Returns
    -------
    Scatterers
        Electron scattering factors (International Tables C, 4.3.2.2) with the B-factors rounded
        to 30 Angstrom^2; hydrogens and waters left out; centred on the centre of mass.

    Raises
    ------
    InputError
        No such file, unreadable, or without atoms.
    """
    structure = _read_structure(path)
    if structure.assemblies:
        name = structure.assemblies[0].name
        structure.transform_to_assembly(name, gemmi.HowToNameCopiedChain.Dup)
        log.info("%s: biological assembly %s", path, name)
    # The assembly names subchains of the file, waters too: they must still be there.
    structure.setup_entities()
    structure.remove_waters()
    structure.remove_hydrogens()
    atoms = [site.atom for site in structure[0].all()] if len(structure) else []
    if not atoms:
        raise InputError(
            f"{path}: found no atoms besides hydrogens and waters; expected an atomic model with "
            "at least one atom"
        )
    position = np.array([(a.pos.x, a.pos.y, a.pos.z) for a in atoms])
    weight = np.array([a.occ for a in atoms], np.float64)
    bins = np.round(np.array([a.b_iso for a in atoms]) / B_BIN_ANGST2).astype(np.int64)
    names = [a.element.name for a in atoms]
    labels = list(zip(names, bins.tolist(), strict=True))
    table = sorted(set(labels))
    row = {label: i for i, label in enumerate(table)}
    amplitude, width = [], []
    for name, b_bin in table:
        a, b = _form_factor(path, name)
        amplitude.append(a)
        width.append([one + b_bin * B_BIN_ANGST2 for one in b])
    kind = np.array([row[label] for label in labels], np.int64)
    log.info("%s: %d atoms", path, len(atoms))
    return centred(Scatterers(position, weight, kind, np.array(amplitude), np.array(width)))


def _read_structure(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"--model {path}: there is no such file; expected mmCIF or PDB")
    try:
        return gemmi.read_structure(str(path))
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"--model {path}: cannot be read as mmCIF or PDB ({reason}); check the file"
        ) from error


def _form_factor(path: Path, element: str) -> tuple[list[float], list[float]]:
    factor = gemmi.Element(element).c4322
    if factor is None:
        raise InputError(
            f"--model {path}: no electron scattering factor is known for element '{element}'; "
            "remove these atoms or name their element"
        )
    return list(factor.a), list(factor.b)
