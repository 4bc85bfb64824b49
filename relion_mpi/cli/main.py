"""The `relion-mpi` command: finds the sub-command, reads its options, runs it on every rank."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import relion_mpi
from relion_mpi.core.errors import InputError
from relion_mpi.core.log import setup_logging, silence
from relion_mpi.core.option_parser import OptionParser
from relion_mpi.core.options import add_to_parser, declarations, from_namespace
from relion_mpi.parallel import abort, comm
from relion_mpi.project.external import own_words
from relion_mpi.project.job import SWITCH, job_of
from relion_mpi.project.place import place_of
from relion_mpi.refine import pipeline_control

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relion_mpi.parallel.comm import World

COMMANDS = {
    "refine": "relion_mpi.cli.refine",
    "refine3d": "relion_mpi.cli.refine3d",
    "class3d": "relion_mpi.cli.class3d",
    "class2d": "relion_mpi.cli.class2d",
    "initialmodel": "relion_mpi.cli.initialmodel",
    "extract": "relion_mpi.cli.extract",
    "autopick": "relion_mpi.cli.autopick",
    "pick-score": "relion_mpi.cli.pick_score",
    "select": "relion_mpi.cli.select",
    "star": "relion_mpi.cli.star",
    "reconstruct": "relion_mpi.cli.reconstruct",
    "subtract": "relion_mpi.cli.subtract",
    "mask": "relion_mpi.cli.mask",
    "map": "relion_mpi.cli.map",
    "simulate": "relion_mpi.cli.simulate",
    "compare": "relion_mpi.cli.compare",
    "postprocess": "relion_mpi.cli.postprocess",
    "fsc": "relion_mpi.cli.fsc",
    "report": "relion_mpi.cli.report",
    "doctor": "relion_mpi.cli.doctor",
    "validate": "relion_mpi.cli.validate",
    "plan": "relion_mpi.cli.plan",
    "launch": "relion_mpi.cli.launch",
    "submit": "relion_mpi.cli.submit",
}
STARTERS = ("launch", "submit")
"""Commands that start others: MPI is left to these, as it cannot be started within itself."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments
        Words after the program's name; sys.argv if left out.

    Returns
    -------
    int
        Exit status: 0, or 1 after a message. Several ranks that do not all fail are ended by
        MPI_Abort with the same status.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = _dispatch(words)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (`| head`) has seen enough.
        silence(sys.stdout)
        return 1
    return status


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(_overview())
        return 0
    if words[0] == "--version":
        sys.stdout.write(f"relion-mpi {relion_mpi.__version__}\n")
        return 0
    if any(word in ("-h", "--help") for word in words[1:]) and words[0] in COMMANDS:
        sys.stdout.write(_parser(words[0]).format_help())
        return 0
    return _on_all_ranks(words[0], words[1:])


def _on_all_ranks(command: str, words: list[str]) -> int:
    """Run a sub-command; whatever goes wrong on one rank ends all of them."""
    ranks = comm.World(comm=None, rank=0, size=1)
    try:
        setup_logging()
        if command not in STARTERS:
            ranks = comm.world()
        abort.install(ranks)
        setup_logging(ranks.rank)
        in_project = SWITCH not in words
        words = [word for word in words if word != SWITCH]
        folder = pipeline_control.folder_in(words)
        if folder is None and in_project:
            folder = _folder_of_job(words)
        if ranks.rank == 0:
            pipeline_control.clear(folder)
        return pipeline_control.signed(
            folder, ranks.rank, lambda: _run(ranks, command, words, folder, in_project)
        )
    except abort.AgreedStop:
        raise
    except BrokenPipeError:
        abort.end(ranks, 1)
        raise
    except SystemExit as leaving:
        if leaving.code:
            abort.end(ranks, leaving.code if isinstance(leaving.code, int) else 1)
        raise
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - reported with its traceback
        return abort.fail(ranks, error)


def _folder_of_job(words: list[str]) -> Path | None:
    """Find the folder of a job that RELION's interface has started without --pipeline_control.

    It is looked for in the words, for the end of a line that cannot be read must be told too.
    """
    given = pipeline_control.value_of("--o", words)
    place = None if given is None else place_of(Path(given), Path.cwd())
    return place.folder if place is not None and place.folder.is_dir() else None


def _run(
    ranks: World, command: str, words: list[str], folder: Path | None, in_project: bool
) -> int:
    def read() -> tuple[Any, list[str], Any]:
        parser = _parser(command)
        module = importlib.import_module(COMMANDS[command])
        flags = {said.flag for said in declarations(module.Options).values()}
        own = own_words(command, words, flags)
        # A command may allow words without flags; it says which flags they stand for.
        spelt = getattr(module, "spelt", list)
        return module, own, from_namespace(module.Options, parser.read(spelt(own)))

    # Every rank reads the same words, so all find the same mistake and one of them tells.
    found = abort.agreed(ranks.comm, read)
    assert found is not None
    module, words, options = found
    if not in_project:
        return int(module.run(options))
    return _in_project(ranks, command, words, module, options, folder)


def _in_project(
    ranks: World, command: str, words: list[str], module: Any, options: Any, folder: Path | None
) -> int:
    """Run, and tell the RELION project that the output lies in, if it does in one."""
    job = job_of(command, options, words, Path.cwd())
    if job is None:
        return int(module.run(options))
    if getattr(options, "pipeline_control", job) is None:
        # Where to look for the interface's request to end.
        options = dataclasses.replace(options, pipeline_control=job.place.folder)
    if ranks.rank != 0:
        return int(module.run(options))

    def run() -> int:
        return job.carried_out(lambda: int(module.run(options)))

    if folder is not None:
        return run()
    job.folder.mkdir(parents=True, exist_ok=True)
    return pipeline_control.signed(job.place.folder, ranks.rank, run)


def _parser(command: str) -> OptionParser:
    if command not in COMMANDS:
        raise InputError(f"'{command}' is no command; there are {', '.join(COMMANDS)}")
    module = importlib.import_module(COMMANDS[command])
    parser = OptionParser(f"relion-mpi {command}", module.SUMMARY)
    add_to_parser(parser, module.Options)
    return parser


def _overview() -> str:
    lines = [
        "usage: relion-mpi COMMAND [options]",
        "       mpiexec -n N relion-mpi COMMAND [options]",
    ]
    lines += ["", "commands:"]
    lines += [f"  {name:<14}{_summary(module)}" for name, module in COMMANDS.items()]
    lines += ["", "relion-mpi COMMAND --help shows a command's options; --version the version."]
    lines += [
        f"Outputs in TYPE/jobNNN of a RELION project are told to it ({SWITCH} to leave it alone).",
        "",
    ]
    return "\n".join(lines)


def _summary(module: str) -> str:
    """Return a module's SUMMARY by reading its text: importing kernels takes seconds."""
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        return "(not installed)"
    for statement in ast.parse(Path(found.origin).read_text(encoding="utf-8")).body:
        target = getattr(statement, "target", None) or next(
            iter(getattr(statement, "targets", [])), None
        )
        if isinstance(target, ast.Name) and target.id == "SUMMARY":
            return str(ast.literal_eval(getattr(statement, "value")))  # noqa: B009
    return ""


if __name__ == "__main__":
    sys.exit(main())
