"""Predicted and used memory of hosts, a line of JSON for each program, box, number of ranks.

Refines and classifies noisy projections for two iterations, at Nyquist from the first one on and
with one exhaustive order, so that the highest moments are reached; `--i` takes other particles and
lets the image size grow as it will. Processes say their own peaks, beside what is predicted for the
image size that was reached; the node's is the largest sum of proportional shares (what is shared
counts once) seen in samples of it, beside the bound that is told before the run. With kernels
compiled before: `python benchmarks/memory/host_memory.py FOLDER [--out FILE]`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from relion_mpi.simulate.options import SimulateOptions
from relion_mpi.simulate.particle_set import simulate

GIB = 2.0**30
DIAMETER_ANGST = 256.0
PERIOD = 0.02


def family(root):
    """Return the processes below one."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(path.parent.name)] = int(words[1])
    found, new = set(), {root}
    while new:
        found |= new
        new = {pid for pid, parent in parents.items() if parent in new}
    return found


def share_bytes(pid):
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    found = re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)
    return 1024 * int(found[1]) if found else 0


class Watch(threading.Thread):
    """The largest sum of the shares of a job's processes."""

    def __init__(self, root):
        super().__init__(daemon=True)
        self.root, self.peak, self.over = root, 0, False

    def run(self):
        """Take samples until told that it is over."""
        while not self.over:
            self.peak = max(self.peak, sum(share_bytes(pid) for pid in family(self.root)))
            time.sleep(PERIOD)


def words_of(program, made, out, angpix, n_class, given):
    """Give the command of a short run."""
    words = [program, "--i", str(made.particles), "--o", str(out), "--random_seed", "1",
             "--no-report"]  # fmt: skip
    if not given:
        words += ["--ini_high", str(2 * angpix)]
    if program == "refine3d":
        words += ["--auto_iter_max", "2"]
        words += [] if given else ["--auto_local_healpix_order", "3"]
    else:
        words += ["--K", str(n_class), "--iter", "2"]
    return words if program == "class2d" else [*words, "--ref", str(made.reference)]


def run(words, ranks):
    words = [sys.executable, "-m", "relion_mpi.cli.main", *words]
    if ranks > 1:
        program = Path(sys.executable).with_name("mpiexec")
        words = [str(program) if program.exists() else "mpiexec", "-n", str(ranks), *words]
    job = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    watch = Watch(job.pid)
    watch.start()
    output = job.communicate()[0]
    watch.over = True
    if job.returncode:
        sys.exit(f"{' '.join(words)} failed:\n{output}")
    return output, watch.peak / GIB


def figures(output, node_used):
    """Take the numbers from a run's own words."""
    number = r"([\d.]+)"
    predicted = float(re.search(rf"will need {number} GiB together", output)[1])
    rows = {"node": (node_used, predicted)}
    if alone := re.search(rf"process used {number} GiB at most, {number} predicted", output):
        rows["process"] = tuple(map(float, alone.groups()))
    else:
        pattern = rf"worker used {number} GiB at most, {number} .*rank 0 {number}, {number} pred"
        found = tuple(map(float, re.search(pattern, output).groups()))
        rows |= {"worker": found[:2], "rank0": found[2:]}
    return {
        name: {"used": round(used, 2), "predicted": want, "ratio": round(used / want, 3)}
        for name, (used, want) in rows.items()
    }


@dataclass(frozen=True)
class Given:
    """Particles that are there, with the reference if there is one."""

    particles: Path
    reference: Path | None


def cases_of(options):
    """List set, its box or name, pixel size, and further options of each run."""
    for number, particles in enumerate(options.i):
        made = Given(particles, options.ref[number] if number < len(options.ref) else None)
        yield particles.parent.name, made, None, []
    for box in [] if options.i else options.box:
        angpix = round(DIAMETER_ANGST / box, 3)
        made = simulate(SimulateOptions(
            o=options.folder / f"set{box}", n=options.n, box=box, angpix=angpix, snr=options.snr
        ))  # fmt: skip
        for pad in options.pad:
            yield box, made, angpix, ["--pad", str(pad)]
        if options.float64:
            more = ["--pad", str(max(options.pad)), "--precision", "float64"]
            yield box, made, angpix, more


def parsed():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--programs", nargs="+", default=["refine3d", "class3d", "class2d"])
    parser.add_argument("--i", type=Path, nargs="+", default=[], help="instead of simulated sets")
    parser.add_argument("--ref", type=Path, nargs="+", default=[])
    parser.add_argument("--box", type=int, nargs="+", default=[32, 64, 128, 192])
    parser.add_argument("--pad", type=int, nargs="+", default=[2])
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--float64", action="store_true")
    parser.add_argument("--K", type=int, nargs="+", default=[4, 20], help="of class3d, of class2d")
    parser.add_argument("--n", type=int, default=96)
    parser.add_argument("--snr", type=float, default=1.0)
    parser.add_argument("--out", type=Path, help="lines are appended")
    return parser.parse_args()


def main():
    options = parsed()
    machine = platform.processor() or platform.machine()
    head = {"machine": machine, "cores": os.cpu_count(), "python": platform.python_version()}
    lines, worst = [head], 0.0
    for name, made, angpix, more in cases_of(options):
        for program in options.programs:
            n_class = options.K[program == "class2d"] if program != "refine3d" else 1
            for ranks in options.ranks:
                out = options.folder / f"out_{program}_{name}" / "run"
                words = words_of(program, made, out, angpix, n_class, angpix is None) + more
                told = figures(*run(words, ranks))
                line = {"program": program, "set": name, "K": n_class, "ranks": ranks,
                        "options": " ".join(more), **told}  # fmt: skip
                lines.append(line)
                print(json.dumps(line), flush=True)
                ratios = [one["ratio"] for who, one in told.items() if who != "node"]
                worst = max(worst, *(abs(ratio - 1) for ratio in ratios))
    print(f"largest distance of a process from its prediction: {100 * worst:.1f} %")
    if options.out:
        with options.out.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(one) + "\n" for one in lines)


if __name__ == "__main__":
    main()
