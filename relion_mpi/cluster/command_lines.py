"""The line of each launcher for the same job."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from relion_mpi.cluster.flavours import Family

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relion_mpi.cluster.flavours import Launcher
    from relion_mpi.cluster.hosts import Host

# What ranks on other hosts need of the environment; Open MPI hands over only what it is told to.
_NEEDED = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX", "CUDA_PATH")
_WAIT_SECONDS = 15
"""For the other ranks, once one has ended."""
_PREFIXES = ("NUMBA_", "RELION_", "CUPY_", "OMP_", "SLURM_RESTART_COUNT")


def mpiexec_line(
    launcher: Launcher,
    hosts: Sequence[Host],
    program: Sequence[str],
    environment: Mapping[str, str] = os.environ,
    *,
    fault_tolerant: bool = False,
) -> list[str]:
    """Write the line of an mpiexec; ranks are left unbound, for each binds itself.

    Parameters
    ----------
    launcher
        Which one.
    hosts
        With their ranks.
    program
        Of every rank.
    environment
        Variables of this process.
    fault_tolerant
        Ranks go on without those that die; of Open MPI 5 alone.

    Returns
    -------
    list of str
        Words.
    """
    is_here = len(hosts) == 1 and not hosts[0].name
    counted = ",".join(f"{host.name}:{host.n_ranks}" for host in hosts)
    total = str(sum(host.n_ranks for host in hosts))
    if launcher.family is Family.OPEN_MPI:
        ulfm = ["--with-ft", "ulfm"] if fault_tolerant else []
        line = [launcher.path, *ulfm, "-n", total, "--map-by", "slot:OVERSUBSCRIBE"]
        line += ["--bind-to", "none"]
        if not is_here:
            line += ["--host", counted]
            for name in sorted(environment):
                line += ["-x", name] if name in _NEEDED or name.startswith(_PREFIXES) else []
        return [*line, *program]
    if launcher.family is Family.MPICH:
        there = [] if is_here else ["-hosts", counted]
        return [launcher.path, *there, "-n", total, "-bind-to", "none", *program]
    line = [launcher.path, "-genv", "I_MPI_PIN", "0"]
    for number, host in enumerate(hosts):
        there = ["-host", host.name] if host.name else []
        line += [*([":"] if number else []), *there, "-n", str(host.n_ranks), *program]
    return line


def srun_line(
    hosts: Sequence[Host], program: Sequence[str], mpi: str, n_cpus: int = 0
) -> list[str]:
    """Write the line of srun, which shares ranks out evenly, the first nodes getting one more.

    Other distributions are not asked for: with arbitrary ones Slurm's PMI-2 tells MPICH that every
    rank is alone on its node, and nothing is shared there.

    Parameters
    ----------
    hosts
        With their ranks.
    program
        Of every rank.
    mpi
        Of `slurm_plugin`.
    n_cpus
        Of the job on a node; 0 where it is not known.

    Returns
    -------
    list of str
        Words.
    """
    line = ["srun", f"--mpi={mpi}", f"--nodes={len(hosts)}"]
    line += [f"--ntasks={sum(host.n_ranks for host in hosts)}"]
    line += ["--distribution=block"]
    if n_cpus:
        # Else a step gets one core a rank, whatever the job has.
        line += [f"--cpus-per-task={max(n_cpus // max(host.n_ranks for host in hosts), 1)}"]
    # Rank 0 needs no core of its own. A lost rank ends the step, but not at once: ranks that end
    # in order are not all equally fast, and srun's exit status would be that of being killed.
    line += ["--overcommit", "--cpu-bind=none", "--kill-on-bad-exit=0", f"--wait={_WAIT_SECONDS}"]
    return [*line, *program]


def cleaning_line(hosts: Sequence[Host]) -> list[str]:
    """Write the line of srun that removes what killed jobs left on the hosts.

    Parameters
    ----------
    hosts
        Of the job.

    Returns
    -------
    list of str
        Words.
    """
    n = len(hosts)
    line = ["srun", "--mpi=none", f"--nodes={n}", f"--ntasks={n}", "--overcommit"]
    return [*line, sys.executable, "-m", "relion_mpi.parallel.leftovers"]


def slurm_plugin(family: Family | None) -> str:
    """Find by which protocol srun can start programs of an MPI.

    Parameters
    ----------
    family
        Of mpi4py's MPI.

    Returns
    -------
    str
        Value of srun's --mpi; empty where this srun has none that fits.
    """
    try:
        done = subprocess.run(
            ["srun", "--mpi=list"], capture_output=True, text=True, check=False, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    there = set((done.stdout + done.stderr).replace(",", " ").split())
    if family is Family.OPEN_MPI:
        return "pmix" if "pmix" in there else ""
    if family is Family.INTEL and "I_MPI_PMI_LIBRARY" not in os.environ:
        return ""
    return "pmi2" if "pmi2" in there else ""
