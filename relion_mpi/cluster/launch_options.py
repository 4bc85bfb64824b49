"""What `relion-mpi launch` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - options are made from the annotations

from relion_mpi.core.options import option


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """Options of the launcher, which stand before the command that is launched."""

    command: str = option(
        help="The command with its options; in place of the flag the words may stand at the end, "
        "as in: relion-mpi launch --workers 4 refine3d --i particles.star ..."
    )
    n: int = option(0, help="Ranks in all; 0: rank 0 and all workers", minimum=0)
    workers: int = option(
        0, help="Workers on each host; 0: with --gpu one a GPU, else the tasks of the Slurm job, "
        "or one for every 4 cores", minimum=0,
    )  # fmt: skip
    hosts: str | None = option(
        None, help="Hosts, as node1,node2 or node1:5,node2:4 with ranks, or a file of them; by "
        "default those of the Slurm or PBS job, or this one",
    )
    launcher: str = option(
        "auto", help="srun, mpiexec (any mpirun too), or what fits the job and mpi4py",
        choices=("auto", "srun", "mpiexec"),
    )  # fmt: skip
    mpiexec: str | None = option(
        None, help="The mpiexec or mpirun to use; by default the first that fits mpi4py, from this "
        "environment or the PATH",
    )
    bind: bool = option(
        True, help="Give each worker cores of its own, near its GPU", negate="--no-bind"
    )
    fault_tolerant: bool = option(
        False, help="Go on without workers that die, where MPI can: under the mpiexec of Open MPI 5"
    )
    requeue: bool = option(
        False, help="In a Slurm job: put it into the queue again if it ended early with everything "
        "saved, and go on from the newest state when it starts again",
    )
    list_: Path | None = option(
        None, flag="--list", help="File with a line of options for each task of a job array, from "
        "1; they are added to the command",
    )  # fmt: skip
    dry_run: bool = option(False, help="Say what would be run, and run nothing")
