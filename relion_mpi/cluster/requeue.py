"""A job that ends before its work does is put into Slurm's queue again, and goes on."""

from __future__ import annotations

import logging
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from relion_mpi.cluster.command_options import options_of
from relion_mpi.cluster.job_array import root_of, value_of
from relion_mpi.cluster.running import TOLD
from relion_mpi.refine.ending import INTERRUPTED_STATUS
from relion_mpi.refine.outputs.names import (
    OPTIMISER,
    iteration_of,
    newest_optimiser,
    partials_of,
    states_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

log = logging.getLogger(__name__)

_ENDED_WITHIN_SECONDS = 60.0
_CLOCK_SECONDS = 2.0
"""By which the clock of a file system may be behind this host's."""


def is_restart(environment: Mapping[str, str]) -> bool:
    """Whether Slurm has put this job into its queue again, after a requeue or a lost node.

    Parameters
    ----------
    environment
        Variables of this process.
    """
    return environment.get("SLURM_RESTART_COUNT", "0") not in ("", "0")


def going_on(words: Sequence[str]) -> list[str] | None:
    """Let the line of a job that was started again go on from the newest state.

    Parameters
    ----------
    words
        The command, as at the first start.

    Returns
    -------
    list of str or None
        As they are where no state was written yet; None where the run has finished.
    """
    root = output_root(words)
    newest = None if root is None else newest_optimiser(root)
    if root is None or newest is None:
        return list(words)
    again = [*_without("--continue", words), "--continue", str(newest)]
    final, state = root.with_name(f"{root.name}_data.star"), max(_written(root))
    is_final = final.is_file() and final.stat().st_mtime >= state
    if is_final or iteration_of(newest) >= options_of(again).last_iteration:
        log.info("%s: the run had finished when the job was started again", newest)
        return None
    return again


def output_root(words: Sequence[str]) -> Path | None:
    """Find the root name of a command's files; of the run that it continues without --o.

    Parameters
    ----------
    words
        Of the command.
    """
    root, before = root_of(words), value_of("--continue", words)
    if root:
        return Path(root)
    if before and before.endswith(OPTIMISER):
        path = Path(before)
        return path.with_name(re.sub(r"_it\d+$", "", path.name.removesuffix(OPTIMISER)))
    return None


def requeue_if_ended_early(
    status: int, came: set[int], root: Path | None, began: float, job: str
) -> None:
    """Put the job into Slurm's queue again if the run ended early and saved something new.

    So ends a run that was asked to, and one that lost a process or a host.

    Parameters
    ----------
    status, came
        Of `relion_mpi.cluster.running.run`.
    root
        Of the run's files; None where they are not known.
    began
        When the run began, in seconds of the clock.
    job
        Number of the Slurm job.
    """
    if not _ended_early(status, came):
        return
    if root is not None and max(_written(root), default=0.0) < began - _CLOCK_SECONDS:
        log.warning(
            "The job is not put into the queue again: since it started nothing was saved beyond "
            "what it began with; give it a longer --time, more ranks, or an earlier --signal"
        )
        return
    log.info("Putting job %s into the queue again: it goes on from what was saved", job)
    done = subprocess.run(
        ["scontrol", "requeue", job], capture_output=True, text=True, check=False
    )
    if done.returncode:
        log.warning("scontrol requeue %s: %s", job, (done.stdout + done.stderr).strip())
        return
    # Slurm ends this process. An exit of its own could be taken for the end of the job.
    time.sleep(_ENDED_WITHIN_SECONDS)


def _ended_early(status: int, came: set[int]) -> bool:
    """Tell whether the run is to go on.

    SIGTERM comes with `scancel`, which is an end for good.
    """
    if signal.SIGTERM in came or signal.SIGINT in came:
        return False
    asked = signal.SIGUSR1 in came and status != 0
    return asked or status == INTERRUPTED_STATUS or status not in TOLD


def _written(root: Path) -> list[float]:
    """Return when states and middles of iterations were written."""
    return [path.stat().st_mtime for _, path in states_of(root) + partials_of(root)]


def _without(flag: str, words: Sequence[str]) -> list[str]:
    kept, skip = [], False
    for word in words:
        is_value, skip = skip and not word.startswith("--"), word == flag
        if not is_value and not skip and not word.startswith(f"{flag}="):
            kept.append(word)
    return kept
