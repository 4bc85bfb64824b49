"""Names of the output files, as RELION gives them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

OPTIMISER, STATE, PARTIAL = "_optimiser.star", "_state.h5", "_partial.h5"


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
        return self._path(OPTIMISER)

    def state(self) -> Path:
        """Return the name of the state in full precision."""
        return self._path(STATE)

    def partial(self) -> Path:
        """Return the name of what was saved within the iteration."""
        return self._path(PARTIAL)

    def model(self, half: int | None = None) -> Path:
        """Return the name of the model of half-set 1 or 2, or of the only one."""
        return self._path(f"{_half(half)}_model.star")

    def map(self, class_number: int, half: int | None = None) -> Path:
        """Return the name of the map of a class, counted from 1."""
        return self._path(f"{_half(half)}_class{class_number:03d}.mrc")

    def averages(self) -> Path:
        """Return the name of the stack of all class averages."""
        return self._path("_classes.mrcs")

    def unfiltered(self, class_number: int, half: int) -> Path:
        """Return the name of an unregularised half-map."""
        return self._path(f"{_half(half)}_class{class_number:03d}_unfil.mrc")

    def angdist(self, class_number: int, half: int | None = None) -> Path:
        """Return the name of the picture of the angular distribution."""
        return self._path(f"{_half(half)}_class{class_number:03d}_angdist.bild")

    def montage(self) -> Path:
        """Return the name of the picture of all classes."""
        return self._path("_classes.png")

    def metrics(self) -> Path:
        """Return the name of the log for programs; all iterations share it."""
        return Path(f"{self.root}_metrics.jsonl")

    def _path(self, ending: str) -> Path:
        number = "" if self.iteration is None else f"_it{self.iteration:03d}"
        return Path(f"{self.root}{number}{ending}")


def state_beside(optimiser: str | Path) -> Path | None:
    """Return the name of the state that belongs to an optimiser file.

    Parameters
    ----------
    optimiser
        run_itNNN_optimiser.star.

    Returns
    -------
    Path or None
        None if this is no name of an optimiser file of an iteration.
    """
    path = Path(optimiser)
    found = re.fullmatch(rf"(.*_it\d{{3,}}){re.escape(OPTIMISER)}", path.name)
    return None if found is None else path.with_name(f"{found[1]}{STATE}")


def states_of(root: Path) -> list[tuple[int, Path]]:
    """List the states of a run that exist.

    Parameters
    ----------
    root
        RELION's --o root name.

    Returns
    -------
    list
        (iteration, file) in order of iterations.
    """
    return _of_iterations(root, STATE)


def iteration_of(optimiser: Path) -> int:
    """Return the number in the name of an optimiser file of an iteration.

    Parameters
    ----------
    optimiser
        run_itNNN_optimiser.star.
    """
    return int(optimiser.name.removesuffix(OPTIMISER).rpartition("_it")[2])


def newest_optimiser(root: Path) -> Path | None:
    """Find the iteration of a run that was completed last.

    Parameters
    ----------
    root
        RELION's --o root name.

    Returns
    -------
    Path or None
        run_itNNN_optimiser.star of the state that was written last, which need not have the highest
        number: an earlier run of the same name may have left its own. None if there is none.
    """
    found = [
        (path.stat().st_mtime_ns, number)
        for number, path in states_of(root)
        if OutputNames(root, number).optimiser().is_file()
    ]
    return OutputNames(root, max(found)[1]).optimiser() if found else None


def partials_of(root: Path) -> list[tuple[int, Path]]:
    """List what was saved within iterations of a run and is still there.

    Parameters
    ----------
    root
        RELION's --o root name.

    Returns
    -------
    list
        (iteration, file) in order of iterations.
    """
    return _of_iterations(root, PARTIAL)


def _of_iterations(root: Path, ending: str) -> list[tuple[int, Path]]:
    pattern = re.compile(rf"{re.escape(root.name)}_it(\d{{3,}}){re.escape(ending)}")
    found = [] if not root.parent.is_dir() else [
        (int(match[1]), path)
        for path in root.parent.iterdir()
        if (match := pattern.fullmatch(path.name))
    ]  # fmt: skip
    return sorted(found)


def _half(half: int | None) -> str:
    return "" if half is None else f"_half{half}"
