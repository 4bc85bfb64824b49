"""The files of a classification: its particles and its table of classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.io.star import read_star

if TYPE_CHECKING:
    from relion_mpi.io.star import Block

CLASS = "rlnClassNumber"
CLASSES = "model_classes"
_OPTIMISER = "optimiser_general"


@dataclass(frozen=True, slots=True)
class Classified:
    """Particles that were classified.

    Attributes
    ----------
    data : file of the particles
    model : file of the classes; may be missing
    blocks : everything in the data file
    name : of the block with the particles
    """

    data: Path
    model: Path
    blocks: dict[str, Block]
    name: str

    @property
    def particles(self) -> pl.DataFrame:
        """Rows of the particles."""
        block = self.blocks[self.name]
        assert isinstance(block, pl.DataFrame)
        return block


def read_classified(path: Path) -> Classified:
    """Read the particles of a classification.

    Parameters
    ----------
    path
        `..._data.star`, or the `..._optimiser.star` that names it.

    Returns
    -------
    Classified

    Raises
    ------
    InputError
        The files cannot be read, or the particles have no classes.
    """
    blocks: dict[str, Block] = dict(read_star(path))
    if _OPTIMISER in blocks:
        data, model = (
            _named(path, blocks[_OPTIMISER], label)
            for label in ("rlnExperimentalDataStarFile", "rlnModelStarFile")
        )
        blocks = dict(read_star(data))
    else:
        data, model = path, path.with_name(f"{path.stem.removesuffix('_data')}_model.star")
    tables = {name: one for name, one in blocks.items() if isinstance(one, pl.DataFrame)}
    # Files of RELION 3.0 and before have one table, of any name.
    name = "particles" if "particles" in tables else next(iter(tables), None)
    if name is None or CLASS not in tables[name].columns:
        raise InputError(
            f"{data}: found no particles with a column {CLASS}, expected the _data.star of a "
            "classification; choose another --i"
        )
    return Classified(data, model, blocks, name)


def read_classes(path: Path) -> pl.DataFrame:
    """Read the table of classes of a model file.

    Parameters
    ----------
    path
        `..._model.star`.

    Returns
    -------
    pl.DataFrame
        A row a class, with rlnClassDistribution and rlnEstimatedResolution.

    Raises
    ------
    InputError
        There is no such file or table.
    """
    table = read_star(path).get(CLASSES)
    expected = {"rlnClassDistribution", "rlnEstimatedResolution"}
    if not isinstance(table, pl.DataFrame) or not expected <= set(table.columns):
        raise InputError(
            f"{path}: found no table model_classes with {' and '.join(sorted(expected))}, expected "
            "the model of a classification; choose by --classes alone"
        )
    return table


def _named(path: Path, block: Block, label: str) -> Path:
    """Return a file that an optimiser names, relative to this folder or else to its own."""
    given = None if isinstance(block, pl.DataFrame) else block.get(label)
    if given is None:
        raise InputError(
            f"{path}: found no {label}, expected the name of a file; give the _data.star as --i"
        )
    named = Path(str(given))
    beside = path.parent / named.name
    return beside if not named.exists() and beside.exists() else named
