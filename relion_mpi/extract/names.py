"""Names of the files that belong to a micrograph."""

from __future__ import annotations

import re
from pathlib import Path

# RELION's job folders: MotionCorr/job002/Movies/one.mrc is Movies/one.mrc to the next job.
_JOB = re.compile(r"^[^/]+/job\d{3,}/(?=.)")


def without_job(micrograph: str) -> Path:
    """Return the name of a micrograph as it goes on in other jobs' folders.

    Parameters
    ----------
    micrograph
        As in a STAR file.

    Returns
    -------
    Path
        Relative, without the job's folder and without the last ending.
    """
    rest = Path(_JOB.sub("", micrograph.removeprefix("./")).lstrip("/"))
    # A stack must lie below the job's folder.
    return Path(*(part for part in rest.parts if part != "..")).with_suffix("")


def beside_or_in(folder: str | None, micrograph: str, suffix: str) -> Path:
    """Return the name of a coordinate file.

    Parameters
    ----------
    folder
        With the coordinate files, or None: they lie beside the micrographs.
    micrograph
        As in a STAR file.
    suffix
        End of the name.

    Returns
    -------
    Path
    """
    if folder is None:
        return Path(f"{Path(micrograph).with_suffix('')}{suffix}")
    return Path(f"{Path(folder) / without_job(micrograph)}{suffix}")


def stack_of(part_dir: Path, micrograph: str) -> Path:
    """Return the name of the stack with a micrograph's particles.

    Parameters
    ----------
    part_dir
        Folder of the stacks.
    micrograph
        As in a STAR file.

    Returns
    -------
    Path
    """
    return Path(f"{part_dir / without_job(micrograph)}.mrcs")


def table_of(part_dir: Path, micrograph: str) -> Path:
    """Return the name of the STAR file with a micrograph's particles.

    Parameters
    ----------
    part_dir
        Folder of the stacks.
    micrograph
        As in a STAR file.

    Returns
    -------
    Path
    """
    return Path(f"{part_dir / without_job(micrograph)}_extract.star")
