"""A job of a RELION project, from its first line in the project's file to its end."""

from __future__ import annotations

import dataclasses
import logging
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.io.star import write_star
from relion_mpi.project.commands import COMMANDS, command_for, input_nodes, output_nodes
from relion_mpi.project.job_star import job_star
from relion_mpi.project.kinds import ABORTED, FAILED, JOB_SUFFIX, RUNNING, SUCCEEDED
from relion_mpi.project.lock import locked
from relion_mpi.project.logfile import write_logfile
from relion_mpi.project.pipeline import Pipeline
from relion_mpi.project.place import PIPELINE, node_name, place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relion_mpi.project.commands import Command
    from relion_mpi.project.place import Place

log = logging.getLogger(__name__)

SWITCH = "--no_pipeline"
OUTPUT_NODES = "RELION_OUTPUT_NODES.star"
_CHANGED = ".pipeline_has_changed"
_NODES_FOLDER = ".Nodes"


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """A command at work in the folder of a job.

    Attributes
    ----------
    place : the folder
    name : command as it was typed
    command : what is told of it
    options : its options
    words : after the command
    """

    place: Place
    name: str
    command: Command
    options: Any
    words: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Folder of the job."""
        return self.place.project / self.place.folder

    def carried_out(self, run: Callable[[], int]) -> int:
        """Tell the project that the job runs, run it, and tell how it ended.

        What cannot be told is warned of; it does not end a job.

        Parameters
        ----------
        run
            Work to do.

        Returns
        -------
        int
            What `run` returned.
        """
        self._told(self._begin)
        status = FAILED
        try:
            code = run()
            status = FAILED if code else SUCCEEDED
        except SystemExit as leaving:
            # Of all ranks that leave together those that were asked to say so by their status.
            status = FAILED if leaving.code == 1 else ABORTED
            raise
        finally:
            self._told(lambda: self._end(status))
        return code

    def _told(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except (OSError, InputError) as error:
            log.warning(
                "%s: RELION's interface could not be told of %s (%s); %s leaves it alone",
                PIPELINE, self.place.folder, error, SWITCH,
            )  # fmt: skip

    def _begin(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        project = self.place.project
        inputs = [
            (node_name(path, project), kind)
            for path, kind in input_nodes(self.command, self.options)
            if (project / path).exists()
        ]
        with locked(project):
            pipeline = Pipeline.read(project / PIPELINE)
            by_relion = pipeline.status(self.place.name) == RUNNING
            pipeline.set_job(self.place, RUNNING)
            pipeline.add_inputs(self.place, inputs)
            pipeline.write(project / PIPELINE)
        (project / _CHANGED).touch()
        if by_relion and (self.folder / "job.star").exists():
            return  # RELION's interface has started this and written the files itself
        tables = job_star(
            self.place, self.name, self.command, self.options, self.words,
            numbers=pipeline.has_numbers,
        )  # fmt: skip
        write_star(self.folder / "job.star", tables, version=pipeline.version)
        pipeline.of_job(self.place).write(self.folder / "job_pipeline.star")
        self._note()

    def _end(self, status: int) -> None:
        project = self.place.project
        if self.command.pictures and status == SUCCEEDED:
            write_logfile(self.command.root_of(self.options), self.command.pictures)
        outputs = [
            (node_name(path, project), kind)
            for path, kind in output_nodes(self.command, self.command.root_of(self.options))
        ]
        with locked(project):
            pipeline = Pipeline.read(project / PIPELINE)
            pipeline.set_job(self.place, status)
            pipeline.add_outputs(self.place, outputs)
            pipeline.write(project / PIPELINE)
        pipeline.of_job(self.place).write(self.folder / "job_pipeline.star")
        self._list_outputs(pipeline, outputs)
        (project / _CHANGED).touch()

    def _list_outputs(self, pipeline: Pipeline, outputs: Sequence[tuple[str, str]]) -> None:
        """Leave the files by which RELION's file browser and External jobs know of outputs."""
        suffix = JOB_SUFFIX.get(self.place.kind, "")
        listed = [
            (name, called)
            for name, kind in outputs
            if (called := pipeline.kind_of_node(kind, suffix)) is not None
        ]
        if pipeline.has_numbers:
            for name, called in listed:
                dummy = self.place.project / _NODES_FOLDER / str(called) / name
                dummy.parent.mkdir(parents=True, exist_ok=True)
                dummy.touch()
        if listed and self.place.kind == "External":
            columns = ("rlnPipeLineNodeName", pipeline.type_column())
            table = pl.DataFrame(listed, schema=list(columns), orient="row")
            write_star(
                self.folder / OUTPUT_NODES, {"output_nodes": table}, version=pipeline.version
            )

    def _note(self) -> None:
        line = shlex.join(["relion-mpi", self.name, *self.words])
        with (self.folder / "note.txt").open("a", encoding="utf-8") as note:
            note.write(
                f" ++++ Executing new job on {time.ctime()}\n"
                f" ++++ with the following command(s): \n{line} \n ++++ \n"
            )


def job_of(name: str, options: Any, words: Sequence[str], project: Path) -> Job | None:
    """Find out whether a command's output lies in a job of a RELION project.

    Parameters
    ----------
    name
        Command as it was typed.
    options
        Its options.
    words
        Words after the command.
    project
        Folder the program was started in.

    Returns
    -------
    Job or None
        None where there is nobody to be told, or nothing to tell of this command.
    """
    field = COMMANDS[name].output if name in COMMANDS else "o"
    output = getattr(options, field, None)
    place = None if output is None else place_of(Path(output), project)
    command = None if place is None else command_for(name, place.kind)
    if place is None or command is None:
        return None
    return Job(place, name, command, options, tuple(words))
