"""The options of a command that is launched or submitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relion_mpi.cluster.job_array import TASK
from relion_mpi.core.errors import InputError
from relion_mpi.core.option_parser import OptionParser
from relion_mpi.core.options import add_to_parser, from_namespace
from relion_mpi.refine.continuing import with_saved_options
from relion_mpi.refine.relion_line import PROGRAMMES, LineOptions, translate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relion_mpi.refine.common_options import CommonOptions


def options_of(words: Sequence[str]) -> CommonOptions:
    """Read the options of a command that is to be submitted.

    Parameters
    ----------
    words
        Of the command, its name first.

    Returns
    -------
    CommonOptions
        Checked one by one.

    Raises
    ------
    InputError
        It is no refinement or classification, or an option is wrong.
    """
    command, rest = words[0], [word.replace(TASK, "1") for word in words[1:]]
    cls: type[Any] | None = LineOptions if command == "refine" else PROGRAMMES.get(command)
    if cls is None:
        known = ", ".join(["refine", *PROGRAMMES])
        raise InputError(f"submit {command}: expected one of {known}, which run on many ranks")
    parser = OptionParser(f"relion-mpi {command}")
    add_to_parser(parser, cls)
    found = from_namespace(cls, parser.read(with_saved_options(rest, cls)))
    options: CommonOptions = translate(found) if command == "refine" else found
    return options
