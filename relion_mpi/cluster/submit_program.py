"""Make a batch script for a command from what `relion-mpi plan` predicts, and submit it."""

from __future__ import annotations

import logging
import math
import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from relion_mpi.backend.gpu import device
from relion_mpi.cluster.command_options import options_of
from relion_mpi.cluster.job_array import TASK
from relion_mpi.cluster.launch_program import as_command
from relion_mpi.cluster.template import filled
from relion_mpi.core.errors import InputError
from relion_mpi.io.atomic import replacing
from relion_mpi.refine.gpu_memory import GIB
from relion_mpi.refine.options import RefineOptions
from relion_mpi.refine.plan_options import PlanOptions
from relion_mpi.refine.plan_program import plan
from relion_mpi.refine.time_estimate import ABOVE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relion_mpi.cluster.submit_options import SubmitOptions
    from relion_mpi.refine.common_options import CommonOptions
    from relion_mpi.refine.plan_program import Prediction

log = logging.getLogger(__name__)

TEMPLATE = Path(__file__).with_name("relion_qsub.sbatch")
CPU_WORKERS = 4
DAY = 24 * 3600
_SHORTEST_SECONDS, _STEP_SECONDS = 1800, 600
_ANY_GPU_GIB = 80.0
"""Assumed for the memory of the host, where the GPU is not known."""
_ANY_HOST_GIB = 1e6
_SPARE = 1.15
"""By so much a prediction may be wrong."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of Slurm.

    Attributes
    ----------
    n_ranks, n_nodes, n_gpus, n_cores : in all; of these GPUs a node and cores a rank
    memory_gib : a node
    seconds : wall time; None where `time` says it
    why : of memory and time, for the log
    """

    n_ranks: int
    n_nodes: int
    n_gpus: int
    n_cores: int
    memory_gib: int
    seconds: int
    why: str


def submit(options: SubmitOptions) -> int:
    """Make the script; print or submit it.

    Parameters
    ----------
    options
        Of the submission.

    Returns
    -------
    int
        Exit status.

    Raises
    ------
    InputError
        The command cannot be run, does not fit, or Slurm refuses it.
    """
    words = as_command(shlex.split(options.command))
    run = options_of(words)
    request = ask_for(options, run)
    text = script(options, words, run, request)
    log.info("%s", request.why)
    if options.dry_run:
        log.info("\n%s", text)
        return 0
    is_array = TASK in str(run.o)
    path = Path(f"{str(run.o).replace(TASK, 'array').rstrip('/')}_submit.sbatch")
    for folder in {path.parent} if is_array else {path.parent, run.o.parent}:
        folder.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    try:
        done = subprocess.run(
            ["sbatch", str(path)], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise InputError(
            f"sbatch cannot be started ({error.strerror}), expected Slurm here; the script is "
            f"{path}, and --dry_run prints it"
        ) from error
    said = (done.stdout + done.stderr).strip()
    if done.returncode:
        raise InputError(f"sbatch {path}: {said}; mend what it says with --sbatch or --template")
    log.info("%s: %s", path, said)
    return 0


def ask_for(options: SubmitOptions, run: CommonOptions) -> Request:
    """Decide what to ask Slurm for.

    Parameters
    ----------
    options
        Of the submission.
    run
        Of the command.

    Raises
    ------
    InputError
        The run would be refused on such nodes.
    """
    on_gpu = run.gpu is not None
    n_gpus = (options.gpus or max(device.n_devices(), 1)) if on_gpu else 0
    n_workers = options.workers or n_gpus or CPU_WORKERS
    is_known = not on_gpu or options.gpu_memory > 0 or device.n_devices() > 0
    found = plan(PlanOptions(
        i=run.i, pad=run.pad, n_class=run.n_class, precision=run.precision, sym=run.sym,
        particle_diameter=run.particle_diameter, batch=run.batch,
        gpu_memory=(options.gpu_memory or (0.0 if is_known else _ANY_GPU_GIB)) if on_gpu else 0.0,
        gpus=n_gpus, ranks=n_workers + 1, host_memory=options.memory or _ANY_HOST_GIB,
        time=isinstance(run, RefineOptions) and not options.time,
    ))  # fmt: skip
    if found.refusal and is_known:
        raise InputError(f"the run would be refused: {found.refusal}")
    memory = options.memory or _memory_gib(found)
    seconds, of_time = _seconds(found, n_workers * options.nodes, options.cores, on_gpu=on_gpu)
    why = f"memory of a node: {memory:.0f} GiB; wall time: {options.time or of_time}"
    if not is_known:
        why += "; whether it fits the GPU was not looked at: give --gpu_memory"
    return Request(
        n_workers * options.nodes + 1, options.nodes, n_gpus, options.cores, math.ceil(memory),
        seconds, why,
    )  # fmt: skip


def _memory_gib(found: Prediction) -> float:
    """Take what the run needs, and twice the images: they get half of what is left."""
    images = 2 * 4.0 * found.n_particles * found.job.box_size**2
    return math.ceil((_SPARE * found.room.need(found.host) + images) / GIB)


def _seconds(found: Prediction, n_workers: int, n_cores: int, *, on_gpu: bool) -> tuple[int, str]:
    if found.time is None:
        return DAY, "a day (there is no estimate)"
    faster = 1.0 if on_gpu else n_workers * n_cores / len(os.sched_getaffinity(0))
    wanted = max(ABOVE * found.time.seconds / faster, _SHORTEST_SECONDS)
    steps = math.ceil(wanted / _STEP_SECONDS)
    return steps * _STEP_SECONDS, f"twice an estimate of {found.time.seconds / faster / 60:.0f} min"


def script(
    options: SubmitOptions, words: Sequence[str], run: CommonOptions, request: Request
) -> str:
    """Fill the template.

    Parameters
    ----------
    options
        Of the submission.
    words
        Of the command.
    run
        Its options.
    request
        Of `ask_for`.

    Returns
    -------
    str
        The script.
    """
    root = str(run.o)
    is_array = any(TASK in word for word in words)
    out = f"{run.command}.%A_%a" if is_array else root
    n_tasks, n_cores = request.n_ranks, request.n_cores
    values = {
        "name": f"{run.command}:{root}".replace(" ", "_"),
        "queue": options.partition or "",
        "mpinodes": str(n_tasks),
        "threads": str(n_cores),
        "cores": str(n_tasks * n_cores),
        "nodes": str(request.n_nodes),
        "dedicated": str(math.ceil(n_tasks * n_cores / request.n_nodes)),
        "outfile": f"{out}.out",
        "errfile": f"{out}.err",
        "extra1": options.time or _time_text(request.seconds),
        "extra2": f"{request.memory_gib}G",
        "extra3": f"--gres=gpu:{request.n_gpus}" if request.n_gpus else "",
        "extra4": " ".join(filter(None, (f"--nodes={request.n_nodes}", options.sbatch))),
        "command": shlex.join(["relion-mpi", *words]),
    }  # fmt: skip
    return filled(options.template or TEMPLATE, values)


def _time_text(seconds: int) -> str:
    days, rest = divmod(seconds, DAY)
    clock = f"{rest // 3600:02d}:{rest % 3600 // 60:02d}:00"
    return f"{days}-{clock}" if days else clock
