"""One iteration from the same state in float64 on the CPU, float32 and TF32 on the GPU.

    python benchmarks/precision/one_iteration.py --folder /tmp/sets [--box 64] [--n 2000]
        [--mpirun "mpirun --bind-to none"] [--cpu_workers 8]
        [--runs cpu:float64 gpu:float32 gpu:tf32]

States: a global search of order 2 and of order 3 from the low-passed reference, and a local one of
order 5 around poses a degree from the truth. Prints the share of best poses that are equal to the
first run's (within a fiftieth of a degree and of an Angstrom), of largest probabilities within
0.01, and the lowest FSC of the half-maps out to the resolution reached.
"""

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl

from relion_mpi.fourier.correlation import fourier_shell_correlation
from relion_mpi.geometry.euler import euler_to_matrix
from relion_mpi.io.mrc import read_map
from relion_mpi.io.star import read_star, write_star

ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
STATES = {
    "global_order_2": ["--healpix_order", 2, "--auto_local_healpix_order", 3],
    "global_order_3": ["--healpix_order", 3, "--auto_local_healpix_order", 4],
    "local_order_5": ["--healpix_order", 5, "--offset_range", 2, "--offset_step", 1],
}


def relion_mpi(*words):
    return [sys.executable, "-m", "relion_mpi.cli.main", *map(str, words)]


def particle_set(options):
    folder = options.folder / f"precision_{options.box}_{options.n}"
    if not (folder / "particles.star").exists():
        words = ("simulate", "--o", folder, "--n", options.n, "--box", options.box, "--angpix",
                 options.angpix, "--snr", options.snr, "--seed", 11)  # fmt: skip
        subprocess.run(relion_mpi(*words), check=True, stdout=subprocess.DEVNULL)
        near_truth(folder)
    return folder


def near_truth(folder):
    """Write a table whose poses are about a degree and half an Angstrom off."""
    blocks = read_star(folder / "truth.star")
    table, rng = blocks["particles"], np.random.default_rng(3)
    off = {name: table[name].to_numpy() + rng.normal(0, 0.7, table.height) for name in ANGLES}
    for name in ("rlnOriginXAngst", "rlnOriginYAngst"):
        off[name] = table[name].to_numpy() + rng.normal(0, 0.5, table.height)
    blocks["particles"] = table.with_columns(pl.Series(k, v) for k, v in off.items())
    write_star(folder / "near.star", blocks)


def run(options, folder, state, where, precision):
    root = folder / f"{state}_{where}_{precision}" / "run"
    start = "near.star" if state.startswith("local") else "particles.star"
    n_workers = options.cpu_workers if where == "cpu" else 1
    command = [*shlex.split(options.mpirun), "-n", str(n_workers + 1)]
    command += relion_mpi(
        "refine3d", "--i", folder / start, "--ref", folder / "reference.mrc", "--o", root,
        "--no-firstiter_cc", "--ini_high", 12, "--auto_iter_max", 1, "--random_seed", 1,
        "--precision", precision, *STATES[state],
    )  # fmt: skip
    command += ["--gpu", ""] if where == "gpu" else []
    # What an earlier call has made is taken: the CPU's float64 takes long.
    if not root.with_name("run_it001_data.star").exists():
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    table = read_star(root.with_name("run_it001_data.star"))["particles"]
    maps = [read_map(root.with_name(f"run_it001_half{h}_class001.mrc"))[0] for h in (1, 2)]
    return table, maps


def compared(first, second):
    """Shares of particles that agree, and the lowest FSC of the maps."""
    (a, maps_a), (b, maps_b) = first, second
    rotations = [euler_to_matrix(*(t[name].to_numpy() for name in ANGLES)) for t in (a, b)]
    trace = np.einsum("nij,nij->n", *rotations)
    angle = np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1)))
    shift = np.hypot(*(
        a[name].to_numpy() - b[name].to_numpy() for name in ("rlnOriginXAngst", "rlnOriginYAngst")
    ))
    pmax = [t["rlnMaxValueProbDistribution"].to_numpy() for t in (a, b)]
    curves = [fourier_shell_correlation(x, y) for x, y in zip(maps_a, maps_b, strict=True)]
    halves = fourier_shell_correlation(*maps_a)
    last = int(np.argmax(halves < 0.143)) or halves.size - 1
    return {
        "equal_poses": round(float(((angle < 0.02) & (shift < 0.02)).mean()), 4),
        "pmax_within_0.01": round(float((np.abs(pmax[0] - pmax[1]) < 0.01).mean()), 4),
        "lowest_fsc": round(float(min(curve[:last].min() for curve in curves)), 6),
        "shells": last,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("sets"))
    parser.add_argument("--box", type=int, default=64)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--angpix", type=float, default=3.0)
    parser.add_argument("--snr", type=float, default=0.1)
    parser.add_argument("--mpirun", default="mpirun --bind-to none")
    parser.add_argument("--cpu_workers", type=int, default=8)
    parser.add_argument("--runs", nargs="+", default=["cpu:float64", "gpu:float32", "gpu:tf32"])
    parser.add_argument("--states", nargs="+", default=list(STATES))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    folder = particle_set(options)
    for state in options.states:
        found = [run(options, folder, state, *one.split(":")) for one in options.runs]
        for name, one in zip(options.runs[1:], found[1:], strict=True):
            line = {"state": state, "reference": options.runs[0], "run": name}
            line |= compared(found[0], one)
            print(json.dumps(line), flush=True)
            if options.out:
                with options.out.open("a") as file:
                    file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
