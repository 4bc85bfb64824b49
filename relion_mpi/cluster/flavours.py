"""Which MPI a launcher belongs to, and whether it is that of mpi4py."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from relion_mpi.core.errors import InputError

_PATIENCE_SECONDS = 30.0
_NAMES = ("mpiexec", "mpirun")


class Family(Enum):
    """MPIs whose launchers and libraries understand each other."""

    OPEN_MPI = "Open MPI"
    MPICH = "MPICH"
    INTEL = "Intel MPI"

    def starts(self, other: Family) -> bool:
        """Whether a launcher of this family can start programs of another: Intel MPI is MPICH."""
        return (self is Family.OPEN_MPI) == (other is Family.OPEN_MPI)


@dataclass(frozen=True, slots=True)
class Launcher:
    """An mpiexec.

    Attributes
    ----------
    path : of the program
    family : its MPI
    version : such as 5.0.2; empty where it does not say
    """

    path: str
    family: Family
    version: str

    def __str__(self) -> str:
        """Write it for a message."""
        return f"{self.path} ({self.family.value} {self.version})".replace(" )", ")")


def family_of(text: str) -> Family | None:
    """Recognise an MPI by what its launcher or its library says of itself.

    Parameters
    ----------
    text
        Of `mpiexec --version`, or the name of a library.

    Returns
    -------
    Family or None
        None for what is not known.
    """
    if re.search(r"Intel\(R\) MPI", text):
        return Family.INTEL
    if re.search(r"Open MPI|OpenRTE|PRRTE|prterun|open-mpi", text):
        return Family.OPEN_MPI
    if re.search(r"HYDRA|MPICH|MVAPICH", text, re.IGNORECASE):
        return Family.MPICH
    return None


def recognise(path: str) -> Launcher | None:
    """Ask a launcher what it is.

    Parameters
    ----------
    path
        Of an mpiexec.

    Returns
    -------
    Launcher or None
        None where it does not answer, or is of an MPI that is not known.
    """
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=_PATIENCE_SECONDS,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    text = done.stdout + done.stderr
    family = family_of(text)
    version = re.search(r"\b\d+\.\d+[\w.]*", text)
    return None if family is None else Launcher(path, family, version[0] if version else "")


def find_launcher(library: str, given: str | None = None) -> Launcher:
    """Find the mpiexec that starts programs of mpi4py's MPI.

    Parameters
    ----------
    library
        What `relion_mpi.parallel.comm.library_name` returned.
    given
        Path or name of the one to use; None: that beside this Python, else the first that fits on
        the PATH.

    Returns
    -------
    Launcher
        One that fits, as far as both say what they are.

    Raises
    ------
    InputError
        There is none, or none that fits; each would start jobs of one rank.
    """
    wanted = family_of(library)
    found: list[Launcher] = []
    for path in [given] if given else _candidates():
        launcher = recognise(path)
        if launcher is None:
            continue
        if wanted is None or launcher.family.starts(wanted):
            return launcher
        found.append(launcher)
    if given and not found:
        raise InputError(
            f"--mpiexec {given}: found no launcher of Open MPI, MPICH or Intel MPI; give its path"
        )
    what = ", ".join(map(str, found)) or "no mpiexec and no mpirun"
    raise InputError(
        f"found {what}, but mpi4py uses {library or 'an MPI that cannot be loaded'}: expected the "
        "mpiexec of the same MPI, which would otherwise start jobs of one rank each; put it on the "
        "PATH or give --mpiexec, or install one into this environment (pip install mpich)"
    )


def _candidates() -> list[str]:
    """List launchers: beside this Python, then everywhere on the PATH."""
    folders = [str(Path(sys.executable).parent), *os.environ.get("PATH", "").split(os.pathsep)]
    found = (shutil.which(name, path=folder) for folder in folders for name in _NAMES)
    return list(dict.fromkeys(path for path in found if path))
