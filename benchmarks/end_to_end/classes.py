"""Time 3D classifications by the number of classes, stage by stage, on GPUs or CPUs.

    python benchmarks/end_to_end/classes.py --folder /tmp/sets --n 100000 --box 128 \
        [--angpix 1.5] [--classes 1,2,4,8,16] [--iterations 4] [--order 2] [--gpu 0:1 | --cpu] \
        [--workers 1] [--half] [--precision tf32] [--mpirun "mpirun --bind-to none"]
        [--out results.jsonl] [--plot classes.png]

The set (a made-up protein, C1, SNR 0.1) is made on the spot if it is not there. Every class begins
from the same map, as in the paper's figure 4D. Figures are means over the iterations from the
third on: the first one compares with one reference by cross-correlation, reads images and compiles,
the second gives each particle a random class. The fit is a straight line through seconds an
iteration against classes. `wall_s` is the whole job, start and end included: with `--n 105247
--box 360 --angpix 1.34 --classes 6 --iterations 25 --half` it is the job of figure 4C.
"""

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from iterations import COLUMNS, option_parser, particle_set, relion_mpi

STEADY = 3
"""First iteration that counts."""


def arguments():
    parser = option_parser(__doc__.splitlines()[0])
    parser.add_argument("--classes", default="1,2,4,8,16")
    parser.add_argument("--plot", type=Path)
    parser.set_defaults(iterations=5, ini_high=40)
    return parser.parse_args()


def classify(options, folder, n_class):
    """Run; return (lines of the metrics file, seconds of the job, its output)."""
    root = folder / f"classes{n_class}" / "run"
    command = [*shlex.split(options.mpirun), "-n", str(options.workers + 1)]
    command += relion_mpi(
        "class3d", "--i", folder / "particles.star", "--ref", folder / "reference.mrc", "--o",
        root, "--K", n_class, "--iter", options.iterations, "--ini_high", options.ini_high,
        "--healpix_order", options.order, "--offset_range", 5, "--offset_step", 2,
        "--particle_diameter", options.diameter, "--random_seed", 1, "--precision",
        options.precision,
    )  # fmt: skip
    command += [] if options.cpu else ["--gpu", options.gpu]
    command += ["--preread_half"] if options.half else []
    command += shlex.split(options.more)
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wall_s = time.perf_counter() - began
    if done.returncode:
        sys.exit(done.stdout[-3000:] + done.stderr[-3000:])
    lines = root.with_name("run_metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines], wall_s, done.stdout


def whole_iterations(said):
    """Seconds of whole iterations, by number, from the log's table."""
    rows = [line.replace("|", " ").split() for line in said.splitlines() if "|" in line]
    return {int(row[0]): float(row[-1]) for row in rows if row[0].isdigit()
            and len(row) == len(COLUMNS)}  # fmt: skip


def summarise(options, n_class, lines, wall_s, totals):
    """Mean seconds of every stage over the steady iterations."""
    steady = [one["timings"] | {"total": totals[one["iteration"]]} for one in lines
              if one["iteration"] >= STEADY]  # fmt: skip
    names = list(dict.fromkeys(name for one in steady for name in one))
    mean = {name: float(np.mean([one.get(name, 0.0) for one in steady])) for name in names}
    return {
        "classes": n_class, "n": options.n, "box": options.box, "order": options.order,
        "half": options.half, "precision": options.precision, "workers": options.workers,
        "where": "cpu" if options.cpu else "gpu", "iterations": options.iterations,
        "current_size": [one["current_size"] for one in lines],
        "seconds": {name: round(value, 3) for name, value in mean.items()},
        "total_s_of_each": list(totals.values()),
        "outside_estep_share": round(1 - mean["E-step"] / mean["total"], 3),
        "estep_us": round(mean["E-step"] / options.n * 1e6, 2), "wall_s": round(wall_s, 1),
    }  # fmt: skip


def fitted(results):
    """Fit seconds = a + b K to whole iterations and to E-steps."""
    k = np.array([one["classes"] for one in results], float)
    fits = {}
    for name in ("total", "E-step"):
        t = np.array([one["seconds"][name] for one in results])
        slope, base = np.polyfit(k, t, 1)
        fits[name] = {
            "base_s": round(base, 3), "per_class_s": round(slope, 3),
            "residuals_s": np.round(t - base - slope * k, 3).tolist(),
        }  # fmt: skip
    return fits


def plot(path, results, fits):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    k = np.array([one["classes"] for one in results], float)
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for name, colour in (("total", "#0072b2"), ("E-step", "#d55e00")):
        fit = fits[name]
        label = name.replace("total", "whole iteration")
        axes[0].plot(k, [one["seconds"][name] for one in results], "o", color=colour, label=label)
        axes[0].plot(k, fit["base_s"] + fit["per_class_s"] * k, color=colour)
    axes[0].set(xlabel="classes", ylabel="seconds an iteration", ylim=(0, None))
    axes[0].legend()
    axes[1].plot(k, [100 * one["outside_estep_share"] for one in results], "o-", color="#009e73")
    axes[1].set(xlabel="classes", ylabel="outside the E-step (%)", ylim=(0, 100))
    figure.savefig(path, dpi=120)


def main():
    options = arguments()
    folder, simulate_s = particle_set(options)
    print(f"the set took {simulate_s:.1f} s", flush=True)
    results = []
    for n_class in [int(word) for word in options.classes.split(",")]:
        lines, wall_s, said = classify(options, folder, n_class)
        results.append(summarise(options, n_class, lines, wall_s, whole_iterations(said)))
        print("".join(line + "\n" for line in said.splitlines() if "|" in line or "GPU" in line))
        print(json.dumps(results[-1]), flush=True)
        if options.out:
            with options.out.open("a") as file:
                file.write(json.dumps(results[-1]) + "\n")
    if len(results) > 2:
        fits = fitted(results)
        print(json.dumps(fits))
        if options.out:
            with options.out.open("a") as file:
                file.write(json.dumps({"fit": fits, "box": options.box, "n": options.n}) + "\n")
        if options.plot:
            plot(options.plot, results, fits)


if __name__ == "__main__":
    main()
