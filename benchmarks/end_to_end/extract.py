"""Extract one set of particles with relion_mpi and with an installed RELION, on the same cores.

    python benchmarks/end_to_end/extract.py SET OUT [--cores 2] [--copies 10] [--times 3]
        [--extract_size 100] [--scale 64] [--coords coords] [--suffix _truth.star]

SET holds micrographs_ctf.star, its micrographs, and a folder with a coordinate file of each. Every
micrograph is taken --copies times, through links, so that the work is longer than the start of
Python. RELION runs with one rank a core (relion_preprocess_mpi; all its ranks work), ours as one
process with a thread a core and as one rank more than cores, of which rank 0 hands out. Both are
bound to the same cores, take turns, and write to OUT. The best wall times, particles a second,
their ratios, the seconds of a job with one micrograph (mostly the start of Python), peak memory
of a process, and the largest difference of pixels are written to OUT/extract.json.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl

from relion_mpi.io.mrc import read_map
from relion_mpi.io.star import read_star, write_star


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--copies", type=int, default=10)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--extract_size", type=int, default=100)
    parser.add_argument("--scale", type=int, default=64)
    parser.add_argument("--coords", default="coords")
    parser.add_argument("--suffix", default="_truth.star")
    parser.add_argument("--relion_mpirun", default="/usr/bin/mpirun")
    return parser.parse_args()


def make_project(options):
    """Link every micrograph so many times; return the number of micrographs."""
    out = options.out
    for folder in ("mics", "picks/mics"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    blocks = read_star(options.set / "micrographs_ctf.star")
    rows = blocks["micrographs"]
    names = []
    for copy in range(options.copies):
        for name in rows["rlnMicrographName"]:
            stem = f"{Path(name).stem}_{copy}"
            picks = options.set / options.coords / f"{Path(name).stem}{options.suffix}"
            link(out / "mics" / f"{stem}.mrc", options.set / name)
            link(out / "picks/mics" / f"{stem}_pick.star", picks)
            names.append(f"mics/{stem}.mrc")
    frame = pl.concat([rows] * options.copies).with_columns(pl.Series("rlnMicrographName", names))
    write_star(out / "mics.star", {"optics": blocks["optics"], "micrographs": frame})
    write_star(out / "one.star", {"optics": blocks["optics"], "micrographs": frame[:1]})
    return frame.height


def link(path, target):
    path.unlink(missing_ok=True)
    path.symlink_to(target.resolve())


def commands(options):
    scale = options.scale
    words = ["--extract", "--coord_dir", "picks/", "--coord_suffix", "_pick.star", "--extract_size"]
    words += [options.extract_size, "--scale", scale, "--norm", "--bg_radius", 3 * scale // 8]
    words += ["--invert_contrast"]
    mpiexec = Path(sys.executable).with_name("mpiexec")
    program = [sys.executable, "-m", "relion_mpi.cli.main", "extract"]
    n = options.cores
    found = {
        "relion": [
            options.relion_mpirun, "--allow-run-as-root", "--oversubscribe", "-n", n,
            "relion_preprocess_mpi",
        ] if n > 1 else ["relion_preprocess"],
        "threads": [*program, "--j", n],
        "ranks": [mpiexec, "-n", n + 1, *program, "--j", 1],
    }  # fmt: skip
    return {name: [*map(str, [*front, *words])] for name, front in found.items()}


def run(options, name, command, micrographs="mics.star"):
    out = options.out / name
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    files = ["--i", micrographs, "--part_dir", f"{name}/", "--part_star", f"{name}/particles.star"]
    path = os.environ["PATH"]
    if name == "relion":
        # Each program gets its own MPI.
        path = os.pathsep.join(p for p in path.split(os.pathsep) if "venv" not in p)
    cores = sorted(os.sched_getaffinity(0))[: options.cores]
    began = time.perf_counter()
    with (options.out / f"{name}.log").open("w") as log:
        subprocess.run(
            [*command, *files], cwd=options.out, stdout=log, stderr=log, check=True,
            env={**os.environ, "PATH": path}, preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )  # fmt: skip
    return time.perf_counter() - began


def largest_difference(options):
    """Compare all pixels of both programs' stacks."""
    largest = 0.0
    for stack in sorted((options.out / "relion").rglob("*.mrcs")):
        ours = options.out / "threads" / stack.relative_to(options.out / "relion")
        largest = max(largest, float(np.abs(read_map(stack)[0] - read_map(ours)[0]).max()))
    return largest


def main():
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    n_micrographs = make_project(options)
    programs = commands(options)
    seconds = {name: [] for name in programs}
    # One turn before the clock counts fills the cache of files.
    for turn in range(options.times + 1):
        for name, command in programs.items():
            one = run(options, name, command)
            if turn:
                seconds[name].append(round(one, 3))
    best = {name: min(all_of) for name, all_of in seconds.items()}
    n = read_star(options.out / "relion" / "particles.star")["particles"].height
    difference = largest_difference(options)
    start = min(run(options, "threads", programs["threads"], "one.star") for _ in range(3))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    result = {
        "cores": options.cores, "micrographs": n_micrographs, "particles": n,
        "box": [options.extract_size, options.scale], "seconds": seconds,
        "particles_a_second": {name: round(n / one) for name, one in best.items()},
        "relion_over_ours": {
            name: round(best["relion"] / best[name], 3) for name in ("threads", "ranks")
        },
        "seconds_of_one_micrograph": round(start, 3), "peak_mb_of_any_process": peak // 1024,
        "largest_difference": difference,
    }  # fmt: skip
    text = json.dumps(result, indent=1)
    (options.out / "extract.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
