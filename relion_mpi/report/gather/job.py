"""Which files belong to a run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relion_mpi.core.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

_OF_RUN = re.compile(
    r"(?P<root>.+?)(?:_it(?P<iteration>\d{3,}))?(?P<half>_half[12])?"
    r"_(?P<kind>model|data|optimiser)\.star"
)


@dataclass(frozen=True, slots=True)
class Job:
    """Files of one run, by what they are.

    Attributes
    ----------
    folder : where they lie
    name : root of their names, `run` in RELION's interface
    models : (iteration, files of one or two half-sets), ascending; None is the final iteration
    data : particle tables in the same way
    optimisers : (iteration, file)
    others : roots of other runs in the folder
    """

    folder: Path
    name: str
    models: tuple[tuple[int | None, tuple[Path, ...]], ...] = ()
    data: tuple[tuple[int | None, Path], ...] = ()
    optimisers: tuple[tuple[int, Path], ...] = ()
    others: tuple[str, ...] = ()

    @property
    def root(self) -> Path:
        """Root of the names with its folder."""
        return self.folder / self.name

    @property
    def is_run(self) -> bool:
        """Whether there is anything of a refinement or classification."""
        return bool(self.models)

    def until(self, iteration: int) -> Job:
        """Return the same run as it was after an iteration.

        Raises
        ------
        InputError
            There is no such iteration.
        """
        there = [n for n, _ in self.models if n is not None]
        if iteration not in there:
            raise InputError(
                f"--iteration {iteration}: found files of iterations "
                f"{', '.join(map(str, there)) or 'none'} of {self.root}; choose one of them"
            )
        return Job(
            self.folder, self.name,
            tuple(one for one in self.models if one[0] is not None and one[0] <= iteration),
            tuple(one for one in self.data if one[0] is not None and one[0] <= iteration),
            tuple(one for one in self.optimisers if one[0] <= iteration), self.others,
        )  # fmt: skip


def find_job(path: Path) -> Job:
    """Find the files of a run.

    Parameters
    ----------
    path
        Folder of a job, root of a run's names (`Refine3D/job001/run`), or one of its files. Of
        several runs in a folder the one that wrote last is taken.

    Returns
    -------
    Job
        Without models if there is only a post-processing.

    Raises
    ------
    InputError
        There is nothing to report on.
    """
    folder, wanted = (path, None) if path.is_dir() else (path.parent, path.name)
    if not folder.is_dir():
        raise InputError(
            f"{path}: there is no such folder, expected a job's folder, the root of a run's names "
            "or one of its files; check the name"
        )
    found: dict[str, list[tuple[re.Match[str], Path]]] = {}
    for file in sorted(folder.iterdir()):
        if match := _OF_RUN.fullmatch(file.name):
            found.setdefault(match["root"], []).append((match, file))
    found = {
        root: files for root, files in found.items() if any(m["kind"] == "model" for m, _ in files)
    }
    if wanted is not None and wanted not in found:
        of_file = _OF_RUN.fullmatch(wanted)
        wanted = of_file["root"] if of_file else wanted.removesuffix(".star")
    name = wanted or _newest(found) or _postprocess_root(folder)
    if name in found:
        others = tuple(root for root in sorted(found) if root != name)
        return _sorted(folder, name, found[name], others)
    if name is not None and (folder / f"{name}.star").is_file():
        return Job(folder, name)
    raise InputError(
        f"{path}: found neither a _model.star of a refinement or classification nor the .star of a "
        "post-processing; give a job's folder, the root of a run's names or one of its files"
    )


def _newest(found: dict[str, list[tuple[re.Match[str], Path]]]) -> str | None:
    times = {root: max(file.stat().st_mtime for _, file in files) for root, files in found.items()}
    return max(times, key=lambda root: times[root]) if times else None


def _postprocess_root(folder: Path) -> str | None:
    """Return the root of a post-processing's names: its table lies beside its map."""
    for star in sorted(folder.glob("*.star")):
        if star.with_suffix(".mrc").is_file():
            return star.stem
    return None


def _sorted(
    folder: Path, name: str, files: list[tuple[re.Match[str], Path]], others: tuple[str, ...]
) -> Job:
    models: dict[int | None, list[Path]] = {}
    data: dict[int | None, Path] = {}
    optimisers: dict[int, Path] = {}
    for match, file in files:
        iteration = None if match["iteration"] is None else int(match["iteration"])
        if match["kind"] == "model":
            models.setdefault(iteration, []).append(file)
        elif match["kind"] == "data":
            data[iteration] = file
        elif iteration is not None:
            optimisers[iteration] = file

    def order(iteration: int | None) -> float:
        return float("inf") if iteration is None else iteration

    return Job(
        folder, name,
        tuple((n, tuple(models[n])) for n in sorted(models, key=order)),
        tuple((n, data[n]) for n in sorted(data, key=order)),
        tuple(sorted(optimisers.items())), others,
    )  # fmt: skip
