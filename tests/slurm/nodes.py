"""Two "hosts" on this machine for MPICH's mpiexec: namespaces behind a stand-in for ssh.

Each has a host name, process numbers and a /dev/shm of its own. Needs root.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

# Options of ssh are dropped; the host's first process takes all others with it.
SSH = """\
#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
host=$1
shift
exec unshare --uts --mount --pid --fork --mount-proc --kill-child sh -c \\
    "hostname $host; mount -t tmpfs none /dev/shm; $*"
"""


def why_not():
    """Say what is missing; nothing where all is there."""
    if shutil.which("unshare") is None:
        return "there is no unshare"
    done = subprocess.run(
        ["unshare", "--uts", "--mount", "--pid", "--fork", "--mount-proc", "true"],
        capture_output=True, check=False,
    )  # fmt: skip
    return "" if done.returncode == 0 else "namespaces need root"


def stand_in(folder):
    """Return the variables that make mpiexec use the stand-in."""
    path = Path(folder) / "ssh"
    path.write_text(SSH)
    path.chmod(0o755)
    return {"HYDRA_LAUNCHER": "ssh", "HYDRA_LAUNCHER_EXEC": str(path)}


def processes_of(host):
    """Return the numbers, here, of the processes that run on a host."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            names = (path / "environ").read_bytes().split(b"\0")
            if f"PMI_HOSTNAME={host}".encode() in names:
                found.append(int(path.name))
    return found


def lose(host):
    """End all processes of a host, those of mpiexec there included."""
    its_own = Path(f"/proc/{processes_of(host)[0]}/ns/pid").readlink()
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (path / "ns" / "pid").readlink() == its_own:
                os.kill(int(path.name), 9)
