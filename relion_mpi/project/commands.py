"""What a project is told of each command: its kind of job, its inputs and its outputs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relion_mpi.project.logfile import LOGFILE

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Command:
    """A command that makes files for other jobs.

    Attributes
    ----------
    kind : of RELION's job that does the same
    inputs : options that name a file, with the kind of the file
    outputs : what follows --o in the name of a file, as a pattern, with its kind; of files of
        iterations only those of the last one count
    pictures : what follows --o in the name of a picture for logfile.pdf, as a pattern
    root : what --o is completed by where it is the folder of a job; nothing if --o is a folder
    output : the option that is meant where --o is said here
    """

    kind: str
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]
    root: str = "run"
    pictures: tuple[str, ...] = ()
    output: str = "o"

    def root_of(self, options: Any) -> Path:
        """Return the root of the output files, or their folder."""
        return Path(getattr(options, self.output))


_REFINED = (("i", "particles"), ("ref", "map"), ("solvent_mask", "mask"))
_CLASSES = (
    (r"_it\d+_data\.star", "particles"),
    (r"_it\d+_model\.star", "model"),
    (r"_it\d+_optimiser\.star", "optimiser"),
    (r"_it\d+_class\d+\.mrc", "map"),
)
_AVERAGES = _CLASSES[:3]

_BESIDE = "/"
"""Begins what is a whole name in the folder, not the end of one."""

COMMANDS = {
    "refine3d": Command("Refine3D", _REFINED, (
        (r"_data\.star", "particles"), (r"_optimiser\.star", "optimiser"),
        (r"_half1_class001_unfil\.mrc", "half map"), (r"_class001\.mrc", "map"),
    )),
    "class3d": Command("Class3D", _REFINED, _CLASSES),
    "class2d": Command("Class2D", _REFINED[:1], _AVERAGES),
    "initialmodel": Command("InitialModel", _REFINED[:1], _CLASSES),
    "select": Command("Select", (("i", "particles"),), (
        (r"", "particles"), (_BESIDE + r"class_averages\.star", "class averages"),
    ), "particles.star"),
    "autopick": Command("AutoPick", (("i", "micrographs"), ("ref", "map")), (
        (r"autopick\.star", "coordinates"),
        (r"coords_suffix_autopick\.star", "coordinates' suffix"),
    ), "", output="odir"),
    "extract": Command("Extract", (
        ("i", "micrographs"), ("coord_list", "coordinates"), ("reextract_data_star", "particles"),
    ), ((r"particles\.star", "particles"),), "", output="part_dir"),
    "star": Command("Select", (("i", "particles"),), (
        (r"", "particles"), (r"_split\d+\.star", "particles"),
    ), "particles.star"),
    "mask": Command("MaskCreate", (("i", "map"),), ((r"", "mask"),), "mask.mrc"),
    "reconstruct": Command(
        "External", (("i", "particles"),), ((r"", "map"),), "reconstruction.mrc"
    ),
    "subtract": Command("Subtract", (("i", "optimiser"), ("mask", "mask")), (
        (r"particles_subtracted\.star", "particles"),
    ), ""),
    "map": Command("External", (("i", "map"),), ((r"", "map"),), "map.mrc"),
    "simulate": Command("External", (("map", "map"),), (
        (r"particles\.star", "particles"), (r"reference\.mrc", "map"),
    ), ""),
    "postprocess": Command("PostProcess", (("i", "half map"), ("mask", "mask")), (
        # Readers count on this order.
        (r"\.mrc", "final map"), (r"_masked\.mrc", "final masked map"),
        (_BESIDE + LOGFILE, "logfile"), (r"\.star", "postprocess"),
        (r"_locres_filtered\.mrc", "locally filtered map"), (r"_locres\.mrc", "resolution map"),
    ), "postprocess", (r"_fsc\.png", r"_guinier\.png")),
}  # fmt: skip
"""Commands that a project is told of; others leave no trace in it."""

_LINES = {"Class3D": "class3d", "Class2D": "class2d", "InitialModel": "initialmodel"}
_ITERATION = re.compile(r"_it(\d+)_")


def command_for(name: str, kind: str) -> Command | None:
    """Return what is to be told of a command.

    Parameters
    ----------
    name
        Command as it was typed.
    kind
        Kind of the job, as its folder says; tells what a line of relion_refine is of.

    Returns
    -------
    Command or None
        None if nothing is to be told.
    """
    return COMMANDS.get(_LINES.get(kind, "refine3d") if name == "refine" else name)


def input_nodes(command: Command, options: Any) -> list[tuple[Path, str]]:
    """List the files that a command was given, with their kinds.

    Parameters
    ----------
    command
        What is told of it.
    options
        Its options.

    Returns
    -------
    list of (Path, str)
    """
    found: list[tuple[Path, str]] = []
    for field, kind in command.inputs:
        value = getattr(options, field, None)
        for one in value if isinstance(value, tuple) else (value,):
            # A list of maps is one word.
            words = [] if one in (None, "", Path("None")) else str(one).split(",")
            found += [(Path(word), kind) for word in words]
    return found


def output_nodes(command: Command, root: Path) -> list[tuple[Path, str]]:
    """List the files that a command has made, with their kinds.

    Parameters
    ----------
    command
        What is told of it.
    root
        Its --o.

    Returns
    -------
    list of (Path, str)
        Files that exist.
    """
    folder, stem = (root.parent, root.name) if command.root else (root, "")
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    found = []
    for pattern, kind in command.outputs:
        whole = re.compile(re.escape(_before(stem, pattern)) + pattern.removeprefix(_BESIDE))
        matching = [name for name in names if whole.fullmatch(name)]
        last = max((_iteration(name) for name in matching), default=0)
        found += [(folder / name, kind) for name in matching if _iteration(name) == last]
    return found


def _before(stem: str, pattern: str) -> str:
    if pattern.startswith(_BESIDE):
        return ""
    # Parts of a split STAR file are numbered before the end of its name.
    return stem.removesuffix(".star") if pattern.startswith("_split") else stem


def _iteration(name: str) -> int:
    match = _ITERATION.search(name)
    return int(match[1]) if match else 0


def named(nodes: Iterable[tuple[Path, str]], kind: str) -> str:
    """Return the first file of a kind, or nothing."""
    return next((str(path) for path, is_of in nodes if is_of == kind), "")
