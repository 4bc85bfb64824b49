"""The `relion-mpi` command: finds the sub-command, reads its options, runs it on every rank."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import relion_mpi
from relion_mpi.core.errors import InputError
from relion_mpi.core.log import setup_logging, silence
from relion_mpi.core.option_parser import OptionParser
from relion_mpi.core.options import add_to_parser, from_namespace
from relion_mpi.parallel import abort, comm
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
    "select": "relion_mpi.cli.select",
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
}


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
        ranks = comm.world()
        abort.install(ranks)
        setup_logging(ranks.rank)
        folder = pipeline_control.folder_in(words)
        if ranks.rank == 0:
            pipeline_control.clear(folder)
        return pipeline_control.signed(folder, ranks.rank, lambda: _run(ranks, command, words))
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


def _run(ranks: World, command: str, words: list[str]) -> int:
    module = None
    options = None
    mistake = None
    try:
        # Every rank reads the same words, so all find the same mistake and one of them tells.
        parser = _parser(command)
        module = importlib.import_module(COMMANDS[command])
        # A command may allow words without flags; it says which flags they stand for.
        spelt = getattr(module, "spelt", list)
        options = from_namespace(module.Options, parser.read(spelt(words)))
    except InputError as error:
        mistake = error
    abort.agree_or_stop(ranks.comm, mistake)
    assert module is not None
    return int(module.run(options))


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
    lines += ["", "relion-mpi COMMAND --help shows a command's options; --version the version.", ""]
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
