"""Look at what a run would meet, and say what is wrong and how to mend it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from relion_mpi.doctor import checks
from relion_mpi.doctor.facts import look
from relion_mpi.doctor.gpu_checks import gpus
from relion_mpi.doctor.table import Line, State, as_text
from relion_mpi.parallel import roll_call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relion_mpi.doctor.facts import Facts
    from relion_mpi.doctor.options import DoctorOptions
    from relion_mpi.parallel.comm import World

log = logging.getLogger(__name__)


def diagnose(options: DoctorOptions, ranks: World) -> int:
    """Print the table on rank 0; collective over all ranks.

    Parameters
    ----------
    options
        What the run to come is started with.
    ranks
        The job.

    Returns
    -------
    int
        Exit status, the same on all ranks: 1 if something is broken.
    """
    facts = roll_call.gather(ranks, look(options, ranks))
    status = 0
    if ranks.rank == 0:
        lines = judge(facts, wants_gpu=options.gpu is not None)
        log.info("%s", as_text(lines))
        status = int(any(line.state is State.PROBLEM for line in lines))
    return int(roll_call.tell(ranks, status))


def judge(facts: Sequence[Facts], wants_gpu: bool) -> list[Line]:
    """Make the table's lines from what the ranks say.

    Parameters
    ----------
    facts
        Of all ranks, in order.
    wants_gpu
        Whether a missing GPU is a problem.

    Returns
    -------
    list of Line
        In the order they are shown.
    """
    return [
        *checks.programs(facts),
        *checks.launch(facts),
        *checks.cores(facts),
        *checks.shared_memory(facts),
        *gpus(facts, wants_gpu),
        *checks.storage(facts),
        checks.relion(),
    ]
