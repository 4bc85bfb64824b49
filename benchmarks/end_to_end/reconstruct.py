"""Make a map of one particle set at given poses, beside an installed RELION.

    python benchmarks/end_to_end/reconstruct.py TABLE OUT [--sym D2] [--ranks 2] [--times 3]
        [--skip_gridding] [--results FILE]

TABLE is a particle STAR file with poses, such as the truth.star of `relion-mpi simulate`; run where
the names of its stacks start from. relion_reconstruct works in one process, so ours is run in one
process with one thread, in one with all cores, and on so many ranks (rank 0 hands out work), and
RELION alone and, where there is more than one rank, under its own MPI. Each is run so many times,
in turns; the best of each counts, and the kernels are compiled before. Written are all seconds, the
ratios of RELION's to ours, and how nearly the maps are the same.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from relion_mpi.fourier.correlation import fourier_shell_correlation
from relion_mpi.io.mrc import read_map
from relion_mpi.io.star import read_star


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sym", default="C1")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--skip_gridding", action="store_true")
    parser.add_argument("--relion_mpirun", default="/usr/bin/mpirun")
    parser.add_argument("--results", type=Path, help="append the result as a line of JSON")
    return parser.parse_args()


def commands(options):
    """Return the command of each way by its name; maps are OUT/NAME.mrc."""
    words = ["--i", options.table, "--ctf", "--sym", options.sym]
    words += ["--skip_gridding"] if options.skip_gridding else []
    program = [sys.executable, "-m", "relion_mpi.cli.main", "reconstruct"]
    mpiexec = [Path(sys.executable).with_name("mpiexec"), "-n", options.ranks]
    ways = {
        "ours_1_thread": [*program, *words, "--j", 1],
        "ours": [*program, *words],
        f"ours_{options.ranks}_ranks": [*mpiexec, *program, *words],
        "relion": ["relion_reconstruct", *words],
    }
    if options.ranks > 1 and shutil.which("relion_reconstruct_mpi"):
        mpirun = [options.relion_mpirun, "--allow-run-as-root", "--oversubscribe"]
        ways[f"relion_{options.ranks}_ranks"] = [
            *mpirun, "-n", options.ranks, "relion_reconstruct_mpi", *words,
        ]  # fmt: skip
    return {
        name: [*map(str, command), "--o", str(options.out / f"{name}.mrc")]
        for name, command in ways.items()
    }


def run(name, command, out):
    began = time.perf_counter()
    with (out / f"{name}.log").open("w") as log:
        done = subprocess.run(command, stdout=log, stderr=log, check=False)
    seconds = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{name}: status {done.returncode}; see {log.name}")
    print(f"{name}: {seconds:.2f} s", flush=True)
    return round(seconds, 3)


def likeness(out):
    """Compare the maps of one process: least FSC up to Nyquist - 2, and the grey scale."""
    ours, theirs = (read_map(out / f"{x}.mrc")[0].astype(float) for x in ("ours", "relion"))
    last = ours.shape[0] // 2 - 2
    fsc = fourier_shell_correlation(ours, theirs)[1 : last + 1]
    return {
        "least_fsc": round(float(fsc.min()), 6),
        "grey_scale": round(float((ours * theirs).sum() / (theirs**2).sum()), 6),
        "largest_difference": float(np.abs(ours - theirs).max() / np.abs(theirs).max()),
    }


def main():
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    ways = commands(options)
    for name in [name for name in ways if name.startswith("ours")]:
        run(name, ways[name], options.out)  # compiles
    seconds = {name: [] for name in ways}
    for _ in range(options.times):
        for name, command in ways.items():
            seconds[name].append(run(name, command, options.out))
    best = {name: min(all_) for name, all_ in seconds.items()}
    several = f"relion_{options.ranks}_ranks"
    result = {
        "table": options.table.name, "particles": read_star(options.table)["particles"].height,
        "box": read_map(options.out / "ours.mrc")[0].shape[0], "sym": options.sym,
        "skip_gridding": options.skip_gridding, "machine": platform.processor(),
        "cores": os.cpu_count(), "seconds": seconds,
        "ratio_1_thread": round(best["relion"] / best["ours_1_thread"], 2),
        "ratio": round(best["relion"] / best["ours"], 2),
        "ratio_ranks": (
            round(best[several] / best[f"ours_{options.ranks}_ranks"], 2)
            if several in best else None
        ),
        "maps": likeness(options.out),
    }  # fmt: skip
    text = json.dumps(result)
    print(text)
    if options.results:
        with options.results.open("a") as handle:
            handle.write(text + "\n")


if __name__ == "__main__":
    main()
