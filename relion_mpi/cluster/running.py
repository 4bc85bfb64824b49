"""Run a launcher, hand signals on to it, and say what its end means."""

from __future__ import annotations

import logging
import signal
import subprocess
from typing import TYPE_CHECKING

from relion_mpi.refine.ending import INTERRUPTED_STATUS
from relion_mpi.refine.outputs.names import newest_optimiser
from relion_mpi.refine.pipeline_control import ABORTED_STATUS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import FrameType

    from relion_mpi.cluster.hosts import Host

log = logging.getLogger(__name__)

_FORWARDED = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)
TOLD = (0, 1, ABORTED_STATUS, INTERRUPTED_STATUS, 126, 127, 130)
"""What the program ends with after it has said why, or a launcher that cannot start it."""


def run(line: Sequence[str]) -> tuple[int, set[int]]:
    """Run until the end.

    Parameters
    ----------
    line
        Words.

    Returns
    -------
    tuple
        Exit status as a shell has it, and the signals that came meanwhile.
    """
    came: set[int] = set()
    process = subprocess.Popen(line)

    def forward(number: int, _: FrameType | None) -> None:
        came.add(number)
        # A terminal sends its SIGINT to both of us.
        if number != signal.SIGINT:
            process.send_signal(number)

    before = {one: signal.signal(one, forward) for one in _FORWARDED}
    try:
        status = process.wait()
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    return (status if status >= 0 else 128 - status), came


def say_if_lost(status: int, hosts: Sequence[Host], root: Path | None) -> None:
    """Explain an end that no rank has told of: launchers say little where a host is lost.

    Parameters
    ----------
    status
        Of `run`.
    hosts
        Of the job.
    root
        Of the run's files; None where they are not known.
    """
    if status in TOLD:
        return
    where = ", ".join(host.name or "this host" for host in hosts)
    newest = None if root is None else newest_optimiser(root)
    cure = "" if newest is None else f"; go on with --continue {newest}"
    log.error(
        "relion-mpi: error: the launcher ended with status %d: a process was killed (memory?) or a "
        "host was lost (%s); see the lines above, and the hosts' own logs%s", status, where, cure,
    )  # fmt: skip
