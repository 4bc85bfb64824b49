"""Tables of all particles, and the list of the micrographs' own tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.extract.coordinates import FILE, LIST
from relion_mpi.extract.micrographs import NAME
from relion_mpi.extract.particles import joined
from relion_mpi.io.star import write_star

if TYPE_CHECKING:
    from pathlib import Path

    from relion_mpi.extract.options import ExtractOptions
    from relion_mpi.extract.plan import Plan


def prepare_folders(options: ExtractOptions, plan: Plan) -> None:
    """Make the folders of all files; remove what a killed job had not finished there.

    Parameters
    ----------
    options
        Names of the files.
    plan
        What will be written.

    Raises
    ------
    InputError
        One cannot be made.
    """
    files = [path for path in (options.part_star, options.pick_star) if path is not None]
    for folder in {path.parent for path in [*files, *(task.stack for task in plan.tasks)]}:
        make_folder(folder)
    if options.only_do_unfinished:
        _remove_unfinished({path.name for task in plan.tasks for path in (task.stack, task.table)},
                           {task.stack.parent for task in plan.tasks})  # fmt: skip


def _remove_unfinished(names: set[str], folders: set[Path]) -> None:
    """Remove what `relion_mpi.io.atomic.replacing` had no time to rename or remove."""
    for folder in folders:
        for path in folder.glob(".*.tmp"):
            # .NAME.PROCESS.tmp
            if path.name[1:].rsplit(".", 2)[0] in names:
                path.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder, unless it is there.

    Parameters
    ----------
    folder
        Its parents are made too.

    Raises
    ------
    InputError
        It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: the folder could not be made ({error.strerror or error}), expected a place "
            "that may be written to; choose another --part_dir or --part_star"
        ) from error


def write_tables(options: ExtractOptions, plan: Plan) -> int:
    """Write what names all particles, those of earlier jobs too.

    Parameters
    ----------
    options
        Names of the files.
    plan
        All of whose tasks are done.

    Returns
    -------
    int
        Particles in the table.
    """
    frames = dict(plan.done)
    frames.update(zip(plan.todo, (task.frame for task in plan.tasks), strict=True))
    particles = joined([frames[place] for place in sorted(frames)])
    try:
        if options.part_star is not None:
            write_star(options.part_star, {"optics": plan.optics, "particles": particles})
        if options.pick_star is not None:
            names, tables = zip(*plan.files, strict=True)
            files = pl.DataFrame({NAME: list(names), FILE: [str(path) for path in tables]})
            write_star(options.pick_star, {LIST: files})
    except OSError as error:
        raise InputError(
            f"{options.part_star or options.pick_star}: could not be written "
            f"({error.strerror or error}), expected a folder with enough space that may be written "
            "to; free space and go on with --only_do_unfinished"
        ) from error
    return particles.height
