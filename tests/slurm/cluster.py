"""A real Slurm in a folder of its own: controller, any number of nodes, and nothing left of it.

All nodes are this machine, each with a host name of its own, and are told that they have more
cores and memory than there are. Needs root, and Slurm built for several slurmd on one machine, as
Debian's slurm-wlm is.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "unshare")
UP_WITHIN = 30.0
# MPICH names its memory after the job: not as in an earlier Slurm on this machine.
FIRST_JOB = 1000 + int(time.time()) % 10**6

CONF = """\
ClusterName=test
FirstJobId={first}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,bf_interval=1
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
JobRequeue=1
KillWait=5
SlurmdTimeout=10
ReturnToService=2
"""


def why_not():
    """Say what is missing for a Slurm here; nothing where all is there."""
    missing = [name for name in PROGRAMS if found(name) is None]
    if missing:
        return f"there is no {', '.join(missing)} (Debian: slurm-wlm and munge)"
    return "" if os.geteuid() == 0 else "daemons of Slurm are started by root only"


def found(name):
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


class Cluster:
    """Nodes n1, n2, ... of 64 cores."""

    def __init__(self, folder, n_nodes=1):
        self.folder, self.nodes = Path(folder), [f"n{i + 1}" for i in range(n_nodes)]
        self._processes = []
        self.environment = {
            name: value for name, value in os.environ.items()
            if not name.startswith(("SLURM", "SBATCH", "PMI", "OMPI", "PYTEST_"))
        } | {
            "SLURM_CONF": str(self.folder / "slurm.conf"), "PYTHONPATH": str(ROOT),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "NUMBA_NUM_THREADS": "1",
        }  # fmt: skip

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "state").mkdir()
        ports = free_ports(len(self.nodes) + 1)
        host = socket.gethostname().partition(".")[0]
        conf = CONF.format(host=host, port=ports[0], folder=self.folder, first=FIRST_JOB)
        for node, port in zip(self.nodes, ports[1:], strict=True):
            conf += (
                f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=64 "
                "Boards=1 SocketsPerBoard=1 CoresPerSocket=64 ThreadsPerCore=1 RealMemory=400000\n"
            )
        conf += "PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n"
        (self.folder / "slurm.conf").write_text(conf)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        self.folder.chmod(0o755)
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self):
        folder = self.folder
        self._daemon(
            "munged", "--foreground", f"--key-file={folder}/munge.key",
            f"--socket={folder}/munge.socket", f"--pid-file={folder}/munged.pid",
            f"--seed-file={folder}/munged.seed", f"--log-file={folder}/munged.log", "--force",
        )  # fmt: skip
        self.wait_for(lambda: (folder / "munge.socket").exists(), "munged")
        self._daemon("slurmctld", "-D", "-i")
        for node in self.nodes:
            # A host name of its own tells MPI that it is another host.
            (folder / f"spool-{node}").mkdir()
            self._daemon(
                "unshare", "--uts", "sh", "-c", f"hostname {node} && exec slurmd -D -N {node}"
            )
        up = f"all {len(self.nodes)}"
        self.wait_for(lambda: self.ask("sinfo", "-h", "-t", "idle", "-o", "%P %D").replace(
            "*", "").strip() == up, "nodes")  # fmt: skip

    def _daemon(self, name, *arguments):
        log = (self.folder / f"{name}-{len(self._processes)}.out").open("w")
        environment = self.environment | {"PATH": f"{self.environment['PATH']}:/usr/sbin:/sbin"}
        process = subprocess.Popen(
            [found(name), *arguments], env=environment, stdout=log, stderr=log,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self._processes.append(process)
        log.close()

    def __exit__(self, *_):
        with contextlib.suppress(Exception):
            self.ask("scancel", "--user=root", "--full")
        for process in reversed(self._processes):
            for number, seconds in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(seconds)
                    break

    def wait_for(self, condition, what, seconds=UP_WITHIN, more=lambda: ""):
        """Poll until something holds; else fail with the logs and what `more` returns."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                told = f"{self.ask('squeue', '-a')}\n{self.logs()}\n{more()}"
                raise AssertionError(f"{what} after {seconds} s\n{told}")
            time.sleep(0.25)

    def logs(self):
        names = sorted(self.folder.glob("*.out")) + sorted(self.folder.glob("slurm*.log"))
        return "\n".join(f"== {name}\n{name.read_text()[-1500:]}" for name in names)

    def ask(self, *words, cwd=None):
        """Run a command of Slurm and return what it says."""
        done = subprocess.run(
            words, env=self.environment, capture_output=True, text=True, cwd=cwd, timeout=60,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    def submit(self, cwd, *words):
        """Submit a script and return the job's number."""
        said = self.ask("sbatch", "--parsable", *map(str, words), cwd=cwd)
        number = said.strip().splitlines()[-1] if said.strip() else ""
        assert number.isdecimal(), said
        return number

    def is_on_a_node(self, job):
        """Whether daemons of a job, by its own number, are still there."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if path.read_bytes().startswith(f"slurmstepd: [{job}.".encode()):
                    return True
        return False

    def start_again(self, job, *changes):
        """Start a requeued job without the two minutes that Slurm lets it wait."""
        number = self.field(job, "JobId")
        self.wait_for(lambda: not self.is_on_a_node(number), "the end of its daemons", 60)
        time.sleep(3)  # credentials of the same second are refused with the old ones
        self.ask("scontrol", "update", f"JobId={job}", "StartTime=now", *changes)

    def field(self, job, name):
        """Return a field of `scontrol show job`; nothing for a job that is gone."""
        for word in self.ask("scontrol", "show", "job", job).split():
            if word.startswith(f"{name}="):
                return word.partition("=")[2]
        return ""


def free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
