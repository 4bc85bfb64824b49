"""Where an output lies in a RELION project."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from relion_mpi.project.kinds import PROCESSES

PIPELINE = "default_pipeline.star"
_JOB = re.compile(r"job(\d{3,})")


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of a job.

    Attributes
    ----------
    project : folder with default_pipeline.star
    folder : of the job, relative to the project, for example Refine3D/job003
    """

    project: Path
    folder: Path

    @property
    def kind(self) -> str:
        """Kind of job, as the folder says, for example Refine3D."""
        return self.folder.parts[0]

    @property
    def number(self) -> int:
        """Number of the job."""
        return int(self.folder.parts[1].removeprefix("job"))

    @property
    def name(self) -> str:
        """Name of the job's process: the folder with a slash at its end."""
        return f"{self.folder}/"


def place_of(output: Path, project: Path) -> Place | None:
    """Find the job folder that an output lies in.

    Parameters
    ----------
    output
        File, root name or folder, relative to `project` or absolute.
    project
        Folder the program was started in, as RELION's programs are.

    Returns
    -------
    Place or None
        None where `project` is no RELION project, or the output lies elsewhere than in
        TYPE/jobNNN of a type that RELION knows. An alias counts as the folder it stands for.
    """
    if not (project / PIPELINE).is_file():
        return None
    parts = Path(os.path.relpath(project / output, project)).parts
    if len(parts) < 2 or parts[0] not in PROCESSES:
        return None
    # RELION's alias of a job is a link beside its folder.
    name = (project / parts[0] / parts[1]).resolve().name
    if not _JOB.fullmatch(name):
        return None
    return Place(project, Path(parts[0], name))


def node_name(path: Path, project: Path) -> str:
    """Return the name that RELION knows a file by: relative to the project, aliases undone.

    Parameters
    ----------
    path
        File, relative to the project or absolute.
    project
        Folder of the project.

    Returns
    -------
    str
        The path as it was given where it lies outside.
    """
    relative = Path(os.path.relpath(project / path, project))
    if relative.parts[0] == "..":
        return str(path)
    place = place_of(relative, project)
    return str(relative if place is None else place.folder.joinpath(*relative.parts[2:]))
