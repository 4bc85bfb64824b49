"""Names of the output files, as RELION gives them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class OutputNames:
    """Names of one iteration's files.

    Attributes
    ----------
    root : RELION's --o root name
    iteration : number, or None for the final files
    """

    root: Path
    iteration: int | None

    def data(self) -> Path:
        """Return the name of the particle table."""
        return self._path("_data.star")

    def sampling(self) -> Path:
        """Return the name of the sampling file."""
        return self._path("_sampling.star")

    def optimiser(self) -> Path:
        """Return the name of the file from which a run is continued."""
        return self._path("_optimiser.star")

    def model(self, half: int | None = None) -> Path:
        """Return the name of the model of half-set 1 or 2, or of the only one."""
        return self._path(f"{_half(half)}_model.star")

    def map(self, class_number: int, half: int | None = None) -> Path:
        """Return the name of the map of a class, counted from 1."""
        return self._path(f"{_half(half)}_class{class_number:03d}.mrc")

    def unfiltered(self, class_number: int, half: int) -> Path:
        """Return the name of an unregularised half-map."""
        return self._path(f"{_half(half)}_class{class_number:03d}_unfil.mrc")

    def angdist(self, class_number: int, half: int | None = None) -> Path:
        """Return the name of the picture of the angular distribution."""
        return self._path(f"{_half(half)}_class{class_number:03d}_angdist.bild")

    def metrics(self) -> Path:
        """Return the name of the log for programs; all iterations share it."""
        return Path(f"{self.root}_metrics.jsonl")

    def _path(self, ending: str) -> Path:
        number = "" if self.iteration is None else f"_it{self.iteration:03d}"
        return Path(f"{self.root}{number}{ending}")


def _half(half: int | None) -> str:
    return "" if half is None else f"_half{half}"
