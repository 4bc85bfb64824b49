"""Predicted and used memory of hosts, a line of JSON for each box, padding, number of ranks.

Refines noisy projections for two iterations, at Nyquist from the first one on, with one exhaustive
order, so that the highest moments are reached. Processes say their own peaks; the node's is the
largest sum of proportional shares (what is shared counts once) seen in samples of it. With kernels
compiled before: `python benchmarks/memory/host_memory.py FOLDER [--out FILE]`.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
import threading
import time
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


def refine(made, out, angpix, pad, ranks, precision):
    words = [
        sys.executable, "-m", "relion_mpi.cli.main", "refine3d", "--i", str(made.particles),
        "--ref", str(made.reference), "--o", str(out), "--ini_high", str(2 * angpix), "--pad",
        str(pad), "--precision", precision, "--auto_local_healpix_order", "3", "--auto_iter_max",
        "2", "--random_seed", "1",
    ]  # fmt: skip
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--box", type=int, nargs="+", default=[32, 64, 128, 192, 256])
    parser.add_argument("--pad", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--n", type=int, default=96)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lines = [{"machine": platform.processor() or platform.machine(), "python": sys.version[:7]}]
    worst = 0.0
    for box in options.box:
        angpix = round(DIAMETER_ANGST / box, 3)
        made = simulate(SimulateOptions(
            o=options.folder / f"set{box}", n=options.n, box=box, angpix=angpix, snr=1.0
        ))  # fmt: skip
        cases = [(pad, ranks, "float32") for pad in options.pad for ranks in options.ranks]
        for pad, ranks, precision in [*cases, (max(options.pad), 2, "float64")]:
            out = options.folder / f"out{box}" / "run"
            told = figures(*refine(made, out, angpix, pad, ranks, precision))
            line = {"box": box, "pad": pad, "ranks": ranks, "precision": precision, **told}
            lines.append(line)
            print(json.dumps(line), flush=True)
            ratios = [one["ratio"] for name, one in told.items() if name != "node"]
            worst = max(worst, *(abs(ratio - 1) for ratio in ratios))
    print(f"largest distance of a process from its prediction: {100 * worst:.1f} %")
    if options.out:
        text = "".join(json.dumps(one) + "\n" for one in lines)
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
