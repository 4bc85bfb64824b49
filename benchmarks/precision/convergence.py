"""Refine to convergence in several precisions and seeds, and compare with the truth.

    python benchmarks/precision/convergence.py --folder /tmp/sets [--box 64] [--n 1500] [--sym D2]
        [--runs cpu:float64:1 cpu:float64:2 gpu:float32:1 gpu:tf32:1]

A run is where:precision:seed. Prints the shares of poses within 1 and 2 degrees of the truth, the
mean FSC with the true map, iterations and seconds.
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path


def relion_mpi(*words):
    return [sys.executable, "-m", "relion_mpi.cli.main", *map(str, words)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("sets"))
    parser.add_argument("--box", type=int, default=64)
    parser.add_argument("--n", type=int, default=1500)
    parser.add_argument("--angpix", type=float, default=3.5)
    parser.add_argument("--snr", type=float, default=0.2)
    parser.add_argument("--sym", default="D2")
    parser.add_argument("--mpirun", default="mpirun --bind-to none")
    parser.add_argument("--cpu_workers", type=int, default=8)
    parser.add_argument(
        "--runs", nargs="+",
        default=["cpu:float64:1", "cpu:float64:2", "gpu:float32:1", "gpu:tf32:1"],
    )
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    folder = options.folder / f"convergence_{options.box}_{options.n}_{options.sym}"
    if not (folder / "particles.star").exists():
        words = ("simulate", "--o", folder, "--n", options.n, "--box", options.box, "--angpix",
                 options.angpix, "--snr", options.snr, "--sym", options.sym,
                 "--seed", 5)  # fmt: skip
        subprocess.run(relion_mpi(*words), check=True, stdout=subprocess.DEVNULL)
    for one in options.runs:
        where, precision, seed = one.split(":")
        root = folder / one.replace(":", "_") / "run"
        workers = options.cpu_workers if where == "cpu" else 1
        command = [*shlex.split(options.mpirun), "-n", str(workers + 1)]
        command += relion_mpi(
            "refine3d", "--i", folder / "particles.star", "--ref", folder / "reference.mrc", "--o",
            root, "--sym", options.sym, "--ini_high", 40, "--random_seed", seed, "--precision",
            precision, *(["--gpu", ""] if where == "gpu" else []),
        )  # fmt: skip
        if root.with_name("run_class001.mrc").exists():
            command = ["true"]  # made by an earlier call
        began = time.perf_counter()
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        seconds = time.perf_counter() - began
        compare = relion_mpi("compare", root, folder / "truth.star", "--sym", options.sym)
        text = subprocess.run(compare, check=True, capture_output=True, text=True).stdout
        within = re.search(r"1 deg:\s*([\d.]+)%\s+2 deg:\s*([\d.]+)%", text)
        fsc = re.search(r"mean FSC aligned\s+([\d.]+)", text)
        line = {
            "run": one, "within_1_deg": float(within[1]), "within_2_deg": float(within[2]),
            "mean_fsc": float(fsc[1]), "seconds": round(seconds, 1),
            "iterations": len(re.findall(r"^ *\d+ .*\|", said, re.MULTILINE)),
        }  # fmt: skip
        print(json.dumps(line), flush=True)
        if options.out:
            with options.out.open("a") as file:
                file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
