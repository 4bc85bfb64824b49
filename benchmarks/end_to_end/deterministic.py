"""Refine one made-up set again and again, to see whether the bits are the same, and at what cost.

    python benchmarks/end_to_end/deterministic.py --folder /tmp/bits [--n 5000] [--box 128] \
        [--workers 1,2] [--gpu 0:1 | --cpu] [--iterations 6] [--repeats 3] [--results bits.jsonl]

Runs refine3d with --deterministic on every number of workers, and once interrupted half-way and
continued on another number; holds voxels and tables of every iteration against the first run's,
byte by byte. Runs without the option too, `--repeats` times in turn with it, for the cost, and says
by how much these differ. Ends with status 1 where bits differ. A first run that does not count
compiles all kernels.
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from relion_mpi.io.star import read_star

MRC_HEADER = 1024
STAGES = ("E-step", "reduce", "M-step")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("bits"))
    parser.add_argument("--n", type=int, default=5000)
    parser.add_argument("--box", type=int, default=128)
    parser.add_argument("--angpix", type=float, default=1.5)
    parser.add_argument("--diameter", type=float, default=170)
    parser.add_argument("--snr", type=float, default=0.1)
    parser.add_argument("--sym", default="C1")
    parser.add_argument("--ini_high", type=float, default=30)
    parser.add_argument("--order", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=6, help="0: to convergence")
    parser.add_argument("--workers", default="1,2", help="numbers of workers, the first one timed")
    parser.add_argument("--gpu", default="")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each kind")
    parser.add_argument("--mpirun", default="mpirun --bind-to none")
    parser.add_argument("--more", default="", help="further options of refine3d")
    parser.add_argument("--results", type=Path)
    return parser.parse_args()


def relion_mpi(*words):
    return [sys.executable, "-m", "relion_mpi.cli.main", *map(str, words)]


def particle_set(options):
    """Return the folder of the set, made if it is not there."""
    folder = options.folder / f"set_{options.box}_{options.n}_{options.sym}_{options.snr}"
    if not (folder / "particles.star").exists():
        subprocess.run(
            relion_mpi(
                "simulate", "--o", folder, "--n", options.n, "--box", options.box, "--angpix",
                options.angpix, "--sym", options.sym, "--snr", options.snr, "--seed", 7,
                "--ini_high", options.ini_high,
            ),
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    return folder


class Runs:
    """Refinements of one set under one folder."""

    def __init__(self, options):
        self.options = options
        made = particle_set(options)
        self.words = [
            "--i", made / "particles.star", "--ref", made / "reference.mrc", "--random_seed", 1,
            "--sym", options.sym, "--ini_high", options.ini_high, "--healpix_order", options.order,
            "--particle_diameter", options.diameter, "--precision", options.precision,
        ]  # fmt: skip
        self.words += [] if options.cpu else [f"--gpu={options.gpu}"]
        self.words += shlex.split(options.more)

    def new(self, name, workers, *, deterministic, iterations=None):
        """Run from the start; return the folder and its seconds."""
        wanted = self.options.iterations if iterations is None else iterations
        words = [*self.words, "--o", self.options.folder / name / "run"]
        words += ["--deterministic"] if deterministic else []
        words += ["--auto_iter_max", wanted] if wanted else []
        return self._run(name, workers, words)

    def go_on(self, name, after, workers):
        """Continue a run after an iteration."""
        optimiser = self.options.folder / name / f"run_it{after:03d}_optimiser.star"
        words = ["--continue", optimiser]
        words += ["--auto_iter_max", self.options.iterations or 999]
        words += [] if self.options.cpu else [f"--gpu={self.options.gpu}"]
        return self._run(name, workers, words)

    def _run(self, name, workers, words):
        command = [*shlex.split(self.options.mpirun), "-n", str(workers + 1)]
        command += relion_mpi("refine3d", *words)
        folder = self.options.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        with (folder.parent / f"{name}.log").open("w") as log:
            done = subprocess.run(
                [str(word) for word in command], stdout=log, stderr=log, check=False
            )
        seconds = time.perf_counter() - began
        if done.returncode:
            sys.exit(f"status {done.returncode}; see {log.name}")
        return folder, seconds


def stages(folder):
    """Add the seconds of each stage over the iterations after the first."""
    lines = [json.loads(line) for line in (folder / "run_metrics.jsonl").read_text().splitlines()]
    later = [line["timings"] for line in lines if line["iteration"] not in (0, 1)]
    return {name: round(sum(one.get(name, 0.0) for one in later), 3) for name in STAGES}


def differences(a, b):
    """Name the maps and tables of two folders that are not the same."""
    kinds = ("*.mrc", "*_data.star", "*_model.star", "*_sampling.star")
    names = sorted({path.name for one in (a, b) for kind in kinds for path in one.glob(kind)})
    return [name for name in names if not same(a / name, b / name)]


def same(a, b):
    if not (a.exists() and b.exists()):
        return False
    if a.suffix == ".mrc":
        return a.read_bytes()[MRC_HEADER:] == b.read_bytes()[MRC_HEADER:]
    first, second = read_star(a), read_star(b)
    if first.keys() != second.keys():
        return False
    # That one table names files, in other folders.
    return all(
        block == "model_classes" or equal(table, second[block]) for block, table in first.items()
    )


def equal(a, b):
    return a.equals(b, null_equal=True) if hasattr(a, "equals") else a == b


def largest_difference(a, b):
    """Compare the half-maps of the last iteration both have: (name, largest over the largest)."""
    common = {path.name for path in a.glob("run_it*_half1_class001.mrc")}
    common &= {path.name for path in b.glob("run_it*_half1_class001.mrc")}
    name = max(common)
    first, second = (
        np.frombuffer((one / name).read_bytes()[MRC_HEADER:], "<f4") for one in (a, b)
    )
    return name, float(np.abs(first - second).max() / np.abs(first).max())


def interrupted(runs, last, counts):
    """Run to the middle, then go on with another number of workers."""
    half = max(last // 2, 1)
    runs.new("interrupted", counts[0], deterministic=True, iterations=half)
    return runs.go_on("interrupted", half, counts[-1])[0]


def main():
    options = arguments()
    options.folder.mkdir(parents=True, exist_ok=True)
    counts = [int(word) for word in options.workers.split(",")]
    runs = Runs(options)
    for deterministic in (True, False):  # compiles
        runs.new(f"warm_{int(deterministic)}", counts[0], deterministic=deterministic, iterations=2)
    seconds, folders = {True: [], False: []}, {True: [], False: []}
    for k in range(options.repeats):
        for deterministic in (True, False):
            name = f"{'deterministic' if deterministic else 'default'}_{counts[0]}_{k}"
            folder, wall = runs.new(name, counts[0], deterministic=deterministic)
            seconds[deterministic].append(wall)
            folders[deterministic].append(folder)
            print(f"{name}: {wall:.1f} s, {stages(folder)}", flush=True)
    first = folders[True][0]
    last = max(int(path.name[6:9]) for path in first.glob("run_it*_optimiser.star"))
    others = {f"repeat {k}": one for k, one in enumerate(folders[True][1:], 1)}
    for count in counts[1:]:
        name = f"deterministic_{count}"
        others[f"{count} workers"] = runs.new(name, count, deterministic=True)[0]
    others["interrupted"] = interrupted(runs, last, counts)
    found = {name: differences(first, other) for name, other in others.items()}
    for name, names in found.items():
        print(f"{name}: {'same bits' if not names else 'OTHER BITS: ' + ', '.join(names[:6])}")
    name, apart = largest_difference(first, folders[False][0])
    cost = statistics.median(seconds[True]) / statistics.median(seconds[False]) - 1
    result = {
        "box": options.box, "n": options.n, "sym": options.sym, "precision": options.precision,
        "where": "cpu" if options.cpu else "gpu", "workers": counts, "iterations": last,
        "same_bits": {name: not names for name, names in found.items()},
        "default_repeats": all(not differences(folders[False][0], one) for one in folders[False]),
        "seconds": {str(key): [round(one, 2) for one in all_] for key, all_ in seconds.items()},
        "cost_percent": round(100 * cost, 1),
        "stages": {str(key): stages(all_[-1]) for key, all_ in folders.items()},
        "default_apart": {"map": name, "relative": apart},
    }  # fmt: skip
    text = json.dumps(result)
    print(text)
    if options.results:
        with options.results.open("a") as handle:
            handle.write(text + "\n")
    sys.exit(any(found.values()))


if __name__ == "__main__":
    main()
