"""Kill refinements at random moments, go on with them, and hold the end against a whole run.

    python benchmarks/faults/random_kills.py OUT [--n 20] [--seed 1] [--set FOLDER --sym D2]

Each run is started with 2 to 4 ranks and ended at a random moment: any rank or the launcher gets
SIGKILL, SIGTERM or SIGUSR1, or RELION's interface asks for an end. It is continued on another
number of ranks, perhaps ended again, until it is done. Then maps and tables must be those of a run
that went through, bit for bit. One JSON line a run is appended to OUT/kills.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from relion_mpi.refine.checkpoint import read_state
from relion_mpi.refine.state_file import read_checked

MARK = "RELION_MPI_RANDOM_KILL"
ENDS_WITHIN = 30.0
MRC_HEADER = 1024
MOST_KILLS = 4
INTERRUPTED, ABORTED = 75, 2
PROGRAM = [sys.executable, "-m", "relion_mpi.cli.main"]
COARSE = ["--healpix_order", "1", "--offset_range", "3", "--auto_local_healpix_order", "3"]
"""Converges in about ten seconds."""
GRACEFUL = ("TERM", "USR1", "FILE")


@dataclass
class Attempt:
    """One job of a run."""

    ranks: int
    start: str
    checkpoint_minutes: float
    at: float | None = None
    target: str = ""
    how: str = ""
    stage: str = ""
    status: int | None = None
    ended_after: float | None = None
    within: bool = False
    problems: list[str] = field(default_factory=list)


class Job:
    """Ranks under mpiexec, found again by a mark in their environment."""

    def __init__(self, ranks: int, words: list[str], log: Path) -> None:
        self.mark = uuid.uuid4().hex
        launcher = Path(sys.executable).with_name("mpiexec")
        program = str(launcher) if launcher.exists() else "mpiexec"
        environment = os.environ | {MARK: self.mark, "NUMBA_NUM_THREADS": "1"}
        self.began = time.monotonic()
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [program, "-n", str(ranks), *PROGRAM, *words], stdout=output,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment,
            )  # fmt: skip

    def pids(self, rank: int | None = None) -> list[int]:
        """List the processes that are left, all or those of a rank; the launcher is one of them."""
        wanted = {f"{MARK}={self.mark}"} | (set() if rank is None else {f"PMI_RANK={rank}"})
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                line = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            # A rank's own process, not one that it started.
            is_wanted = rank is None or PROGRAM[-1] in line
            if wanted <= set(words) and is_wanted and state not in "ZX":
                found.append(int(folder.name))
        return found

    def wait(self, seconds: float) -> bool:
        """Wait until no process is left."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None and not self.pids():
                return True
            time.sleep(0.05)
        return False

    def kill_all(self) -> None:
        """End what hangs."""
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        self.process.wait()


def command(options, out, attempt):
    """Return the words of a job: a new run, or the last state of it."""
    common = ["--no-report", "--pipeline_control", f"{out}/", "--checkpoint_minutes",
              str(attempt.checkpoint_minutes)]  # fmt: skip
    if attempt.start:
        return ["refine3d", "--continue", attempt.start, *common]
    return [
        "refine3d", "--i", str(options.set / "particles.star"), "--ref",
        str(options.set / "reference.mrc"), "--o", str(out / "run"), "--sym", options.sym,
        "--random_seed", "1", *options.words, *common,
    ]  # fmt: skip


def last_start(out):
    """Return the optimiser file to go on from, or "" for a new run."""
    found = [
        path for path in sorted(out.glob("run_it*_optimiser.star"))
        if path.with_name(path.name.replace("_optimiser.star", "_state.h5")).exists()
    ]  # fmt: skip
    return str(found[-1]) if found else ""


def end(job, attempt, out, rng):
    """Send what ends the job to somebody; return whether there was anybody."""
    attempt.how = str(rng.choice(["KILL", "KILL", *GRACEFUL]))
    # Workers leave requests to rank 0; they get some, to see that they do.
    last = 1 if attempt.how in GRACEFUL and rng.random() < 0.75 else attempt.ranks
    place = int(rng.integers(-1, last))
    attempt.target = "launcher" if place < 0 else f"rank {place}"
    if attempt.how == "FILE":
        attempt.target = "folder"
        (out / "RELION_JOB_ABORT_NOW").touch()
        return
    pids = [job.process.pid] if place < 0 else job.pids(place)
    for pid in pids:
        try:
            os.kill(pid, getattr(signal, f"SIG{attempt.how}"))
        except ProcessLookupError:
            attempt.target += " (gone)"
    if not pids:
        attempt.target += " (not there yet)"


def must_end(attempt):
    """Say whether what was sent ends the job: a worker leaves TERM and USR1 to rank 0."""
    is_worker = attempt.target.startswith("rank") and not attempt.target.startswith("rank 0")
    # Before rank 0 listens, MPICH takes SIGUSR1 for its own.
    is_early = attempt.how in GRACEFUL and attempt.stage == "start"
    return "(" not in attempt.target and not is_early and not (
        is_worker and attempt.how in GRACEFUL
    )


def check_files(out):
    """Read every state; what is there must be whole."""
    problems = []
    for path in out.glob("run_it*_state.h5"):
        try:
            read_state(path)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
            problems.append(f"{path.name}: {error}")
    for path in out.glob("run_it*_partial.h5"):
        try:
            read_checked(path, with_arrays=True)
        except Exception as error:  # noqa: BLE001
            problems.append(f"{path.name}: {error}")
    return problems


def check_end(attempt, job):
    """Hold the exit status against what was sent."""
    text = job.log.read_text(errors="replace")
    attempt.within = "Going on within iteration" in text
    if attempt.how == "KILL" and must_end(attempt) and attempt.status == 0:
        if "Finished in" not in text and "saved; go on with" not in text:
            attempt.problems.append("status 0 after SIGKILL")
    if attempt.status == 0 and "Finished in" not in text:
        attempt.problems.append("status 0 without an end")
    if "saved; go on with" in text and attempt.status not in (INTERRUPTED, ABORTED):
        if attempt.how != "KILL":
            attempt.problems.append(f"status {attempt.status} of a run that was asked to end")
    attempt.problems += [f"log: {line}" for line in text.splitlines() if "Traceback" in line][:1]


def stage_of(out):
    """Say where the run was: its newest file."""
    files = [path for path in out.iterdir() if path.name.startswith(("run_", ".run_"))]
    return max(files, key=modified).name if files else "start"


def modified(path):
    """Return when a file was last written; 0 if it got its final name meanwhile."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def one_job(options, out, attempt, rng, *, with_kill, expected):
    """Start a job, end it perhaps, and see that all of it ends."""
    log = out.parent / f"{out.name}_{len(list(out.parent.glob(out.name + '_*.log'))):02d}.log"
    job = Job(attempt.ranks, command(options, out, attempt), log)
    limit = 600.0 + 10 * expected
    if with_kill:
        attempt.at = round(float(rng.uniform(0.0, expected)), 3)
        try:
            job.process.wait(attempt.at)
        except subprocess.TimeoutExpired:
            attempt.stage = stage_of(out)
            end(job, attempt, out, rng)
            sent = time.monotonic()
            if must_end(attempt):
                limit = ENDS_WITHIN
            has_ended = job.wait(limit)
            attempt.ended_after = round(time.monotonic() - sent, 2)
            if not has_ended:
                attempt.problems.append(f"{len(job.pids())} processes left after {limit:.0f} s")
                job.kill_all()
    if not job.wait(limit):
        attempt.problems.append(f"still running after {limit:.0f} s")
        job.kill_all()
    attempt.status = job.process.returncode
    check_end(attempt, job)
    (out / "RELION_JOB_ABORT_NOW").unlink(missing_ok=True)
    signs = [path.name for path in out.glob("RELION_JOB_EXIT_*")]
    if len(signs) > 1 or not (signs or attempt.stage == "start"):
        attempt.problems.append(f"signs for the interface: {signs}")
    attempt.problems += check_files(out)
    return attempt


def differences(a, b):
    """Compare the files of two runs: names, voxels, tables."""
    names = [{path.name for path in folder.iterdir()} for folder in (a, b)]
    found = [f"only in one: {name}" for name in sorted(names[0] ^ names[1])]
    for name in sorted(names[0] & names[1]):
        one, other = (a / name).read_bytes(), (b / name).read_bytes()
        if name.endswith(".mrc"):
            one, other = one[MRC_HEADER:], other[MRC_HEADER:]
        if name.endswith((".mrc", "_data.star", "_sampling.star", ".bild")) and one != other:
            found.append(f"differs: {name}")
    return found


def one_run(options, reference, number, expected):
    """Kill and continue one run until it is done."""
    rng = np.random.default_rng([options.seed, number])
    out = options.out / f"run{number:03d}"
    out.mkdir()
    attempts = []
    while len(attempts) < 40:
        attempt = Attempt(
            int(rng.integers(2, 5)), last_start(out), float(rng.choice([10.0, 1e-3, 1e-6]))
        )
        n_kills = sum(bool(one.how) for one in attempts)
        with_kill = n_kills == 0 or (n_kills < MOST_KILLS and rng.random() < 0.5)
        one_job(options, out, attempt, rng, with_kill=with_kill, expected=expected)
        attempts.append(attempt)
        if attempt.status == 0 or not attempt.how:
            break
    problems = [problem for one in attempts for problem in one.problems]
    if attempts[-1].status != 0:
        problems.append(f"ended with status {attempts[-1].status}")
    problems += differences(reference, out)
    if not problems:
        shutil.rmtree(out)
    return {"run": number, "attempts": [asdict(one) for one in attempts], "problems": problems}


def told(found):
    """Write a run's line of the table."""
    kills = "; ".join(
        f"{one['how']} {one['target']} at {one['at']:.1f} s, {one['ranks']} ranks: status "
        f"{one['status']} in {one['ended_after']} s"
        for one in found["attempts"]
        if one["how"]
    )
    within = sum(one["within"] for one in found["attempts"])
    verdict = "identical" if not found["problems"] else "PROBLEM " + " | ".join(found["problems"])
    return f"{found['run']:4d}  {verdict}; {within} within an iteration; {kills}"


def prepare(options):
    """Make the particles once, and the run that goes through; return its folder and seconds."""
    if options.set is None:
        options.set = options.out / "set"
        if not options.set.exists():
            words = ["simulate", "--o", str(options.set), "--n", "500", "--box", "32", "--angpix",
                     "7", "--sym", options.sym, "--snr", "0.3"]  # fmt: skip
            subprocess.run([*PROGRAM, *words], check=True)
    folder, seconds = options.out / "reference", options.out / "seconds.json"
    if not seconds.exists():
        for _ in range(2):  # the first one compiles
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            attempt = Attempt(3, "", 0.0)
            job = Job(3, command(options, folder, attempt), options.out / "reference.log")
            if job.process.wait() != 0:
                sys.exit(f"the whole run failed: {options.out / 'reference.log'}")
        seconds.write_text(json.dumps(time.monotonic() - job.began))
    return folder, float(json.loads(seconds.read_text()))


def main():
    """Do as the module says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--n", type=int, default=20, help="runs")
    parser.add_argument("--first", type=int, default=0, help="number of the first run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", type=Path, default=None, help="folder with particles.star")
    parser.add_argument("--sym", default="D2")
    parser.add_argument("--words", nargs=argparse.REMAINDER, default=None,
                        help="options of refine3d, last")  # fmt: skip
    options = parser.parse_args()
    options.words = (COARSE if options.set is None else []) if options.words is None else (
        options.words
    )
    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    reference, seconds = prepare(options)
    print(f"a whole run takes {seconds:.1f} s", flush=True)
    bad = 0
    for number in range(options.first, options.first + options.n):
        found = one_run(options, reference, number, seconds)
        bad += bool(found["problems"])
        with (options.out / "kills.jsonl").open("a") as file:
            file.write(json.dumps(found | {"seed": options.seed}) + "\n")
        print(told(found), flush=True)
    print(f"{options.n - bad} of {options.n} runs ended with the bits of the whole run")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
