"""Which program made a run, with which command line and options."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from relion_mpi.core.errors import InputError
from relion_mpi.io.star import read_star

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from relion_mpi.report.gather.job import Job

_N_HEADER = 6
_NONE = "None"


@dataclass(frozen=True, slots=True)
class Origin:
    """What the last optimiser file says of the run.

    Attributes
    ----------
    program : name and version, empty if unknown
    command_line : empty if unknown
    options : label without `rln` -> text
    symmetry : point group, None if unknown
    """

    program: str = ""
    command_line: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    symmetry: str | None = None

    @property
    def is_mini_batch(self) -> bool:
        """Whether an iteration takes a part of the particles only."""
        return "initialmodel" in self.command_line or "--grad " in f"{self.command_line} "

    @property
    def last_iteration(self) -> int | None:
        """Iteration after which a run ends in any case."""
        value = self.options.get("NumberOfIterations")
        return None if value is None else int(value)

    @property
    def has_converged(self) -> bool | None:
        """Whether auto-refine has."""
        return self._flag("HasConverged")

    @property
    def is_auto(self) -> bool | None:
        """Whether it is auto-refine."""
        return self._flag("DoAutoRefine")

    @property
    def particle_diameter_angst(self) -> float | None:
        """Diameter of the mask on particles."""
        value = float(self.options.get("ParticleDiameter", "nan"))
        return value if value > 0 else None

    @property
    def solvent_mask(self) -> str | None:
        """Mask of the references."""
        value = self.options.get("SolventMaskName", _NONE).strip('"')
        return None if value in {_NONE, ""} else value

    def _flag(self, label: str) -> bool | None:
        value = self.options.get(label)
        return None if value is None else value not in {"0", "False", "false"}


def read_origin(job: Job) -> Origin:
    """Read the last optimiser file of a run and the sampling file that it names.

    Parameters
    ----------
    job
        Its files.

    Returns
    -------
    Origin
        Empty where there is no such file.
    """
    if not job.optimisers:
        return Origin(symmetry=_symmetry(job, None))
    _, path = job.optimisers[-1]
    program, command_line = _header(path)
    try:
        block = read_star(path)["optimiser_general"]
    except (InputError, KeyError):
        return Origin(program, command_line)
    assert isinstance(block, dict)
    options = {label.removeprefix("rln"): value for label, value in block.items()}
    return Origin(program, command_line, options, _symmetry(job, path))


def _header(path: Path) -> tuple[str, str]:
    """Return program and command line: the comments at the head of the file."""
    comments = []
    with path.open(encoding="utf-8", errors="replace") as file:
        for _, line in zip(range(_N_HEADER), file, strict=False):
            if line.startswith("#"):
                comments.append(line.lstrip("# ").strip())
    program = next((c.partition("version")[2].strip(" ;") for c in comments if "version" in c), "")
    commands = (c for c in comments if "--" in c)
    if program and not program.startswith("relion_mpi"):
        program = f"RELION {program.partition(' ')[0]}"
    return program.replace("relion_mpi", "relion-mpi"), next(commands, "")


def _symmetry(job: Job, optimiser: Path | None) -> str | None:
    """Return the point group, from the sampling file of the same iteration or the final one."""
    names = [job.root.with_name(f"{job.name}_sampling.star")]
    if optimiser is not None:
        beside = optimiser.name.replace("_optimiser.star", "_sampling.star")
        names.insert(0, optimiser.with_name(beside))
    for name in names:
        try:
            general = read_star(name)["sampling_general"]
        except (InputError, KeyError):
            continue
        if isinstance(general, dict) and "rlnSymmetryGroup" in general:
            return general["rlnSymmetryGroup"].strip('"')
    return None
