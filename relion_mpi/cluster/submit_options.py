"""What `relion-mpi submit` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - options are made from the annotations

from relion_mpi.core.options import option


@dataclass(frozen=True, slots=True)
class SubmitOptions:
    """Options of the submission, which stand before the command that is submitted."""

    command: str = option(
        help="The command with its options; in place of the flag the words may stand at the end, "
        "as in: relion-mpi submit --nodes 2 refine3d --i particles.star ..."
    )
    nodes: int = option(1, help="Number of nodes", minimum=1)
    workers: int = option(
        0, help="Workers a node; 0: with --gpu in the command one a GPU, else 4", minimum=0
    )
    gpus: int = option(
        0, help="GPUs a node, where the command has --gpu; 0: as many as here, at least 1",
        minimum=0,
    )  # fmt: skip
    cores: int = option(4, help="Cores of a worker", minimum=1)
    time: str | None = option(
        None, help="Wall time as Slurm takes it (1-12:00:00); by default twice what relion-mpi "
        "plan estimates, or a day; what is not done by then goes on after a requeue"
    )
    memory: float = option(
        0.0, help="Memory of a node; 0: what relion-mpi plan predicts, and room for the images",
        unit="GiB", minimum=0,
    )  # fmt: skip
    gpu_memory: float = option(
        0.0, help="Memory of a GPU, to see whether the run fits; 0 asks the first GPU here",
        unit="GiB", minimum=0,
    )  # fmt: skip
    partition: str | None = option(None, help="Partition (queue); by default the cluster's")
    sbatch: str | None = option(
        None, help="Further options of sbatch, such as '--account=lab --array=1-8'"
    )
    template: Path | None = option(
        None, help="Script with RELION's variables (XXXcommandXXX, ...); by default that of "
        "slurm/relion_qsub.sbatch",
    )  # fmt: skip
    dry_run: bool = option(False, help="Print the script, and submit nothing")
