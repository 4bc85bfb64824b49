"""Time classification-type iterations (a fixed global grid) of a refinement, stage by stage.

    python benchmarks/end_to_end/iterations.py --folder /tmp/sets --n 100000 --box 128 \
        [--angpix 1.5] [--order 2] [--iterations 4] [--gpu 0:1 | --cpu] [--workers 1] \
        [--precision tf32] [--half] [--mpirun "mpirun --bind-to none"] [--out results.jsonl]

The set (a made-up protein, C1, SNR 0.1) is made on the spot if it is not there. Iterations search
the whole grid of a HEALPix order with one oversampling, offset range 5 pixels, step 2. The first
one reads the images and compiles kernels; figures are means over the later ones. The GPU's use is
what the driver samples ten times a second over those iterations, waiting and files included.
"""

import argparse
import json
import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path

COLUMNS = ("iteration", "resolution_angst", "size", "angle", "offset", "local", "pmax", "acc_rot",
           "acc_trans", "significant", "slices", "read_s", "estep_s", "reduce_s", "mstep_s",
           "write_s", "total_s")  # fmt: skip


def option_parser(description):
    """Return the options of a run of iterations; other programs add theirs."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--folder", type=Path, default=Path("sets"))
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--box", type=int, default=128)
    parser.add_argument("--angpix", type=float, default=1.5)
    parser.add_argument("--diameter", type=float, default=170)
    parser.add_argument("--snr", type=float, default=0.1)
    parser.add_argument("--order", type=int, default=2)
    parser.add_argument("--ini_high", type=float, default=20)
    parser.add_argument("--iterations", type=int, default=4)
    parser.add_argument("--gpu", default="")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--half", action="store_true", help="float16 files and memory")
    parser.add_argument("--mpirun", default="mpirun --bind-to none")
    parser.add_argument("--more", default="", help="further options of refine3d")
    parser.add_argument("--out", type=Path)
    return parser


def relion_mpi(*words):
    return [sys.executable, "-m", "relion_mpi.cli.main", *map(str, words)]


def particle_set(options):
    """Return the folder of the set, made if it is not there; and the seconds that took."""
    folder = options.folder / f"made_{options.box}_{options.n}_{options.snr}"
    began = time.perf_counter()
    if not (folder / "particles.star").exists():
        words = ["simulate", "--o", folder, "--n", options.n, "--box", options.box, "--angpix",
                 options.angpix, "--snr", options.snr, "--seed", 7]  # fmt: skip
        words += ["--float16"] if options.half else []
        words += [] if options.cpu else ["--backend", "gpu"]
        subprocess.run(relion_mpi(*words), check=True, stdout=subprocess.DEVNULL)
    return folder, time.perf_counter() - began


def watch_gpu(samples, done):
    """Append (time, percent, MiB used) about ten times a second, every GPU."""
    command = ["nvidia-smi", "--query-gpu=utilization.gpu,memory.used",
               "--format=csv,noheader,nounits", "-lms", "100"]  # fmt: skip
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    except FileNotFoundError:
        return
    for line in process.stdout:
        percent, used = (float(word) for word in line.split(","))
        samples.append((time.time(), percent, used))
        if done.is_set():
            break
    process.kill()


def refine(options, folder):
    """Run; return (rows of the table with the time each came, the whole output)."""
    command = [*shlex.split(options.mpirun), "-n", str(options.workers + 1)]
    command += relion_mpi(
        "refine3d", "--i", folder / "particles.star", "--ref", folder / "reference.mrc", "--o",
        folder / "iterations" / "run", "--no-firstiter_cc", "--ini_high", options.ini_high,
        "--healpix_order", options.order, "--auto_local_healpix_order", options.order + 1,
        "--auto_iter_max", options.iterations, "--particle_diameter", options.diameter,
        "--random_seed", 1, "--precision", options.precision,
    )  # fmt: skip
    command += [] if options.cpu else ["--gpu", options.gpu]
    command += shlex.split(options.more)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    rows, said = [], []
    for line in process.stdout:
        said.append(line)
        words = line.replace("|", " ").split()
        if len(words) == len(COLUMNS) and words[0].isdigit():
            values = [0.0 if word == "-" else float(word) for word in words]
            rows.append((time.time(), dict(zip(COLUMNS, values, strict=True))))
    if process.wait():
        # The launcher's own words come last and are many.
        sys.stderr.write("".join(said))
        told = [line for line in said if "rror" in line or "failed" in line]
        sys.exit("the run failed:\n" + "".join(told))
    return rows, said


def main():
    options = option_parser(__doc__.splitlines()[0]).parse_args()
    folder, simulate_s = particle_set(options)
    samples, done = [], threading.Event()
    watcher = threading.Thread(target=watch_gpu, args=(samples, done), daemon=True)
    if not options.cpu:
        watcher.start()
    rows, said = refine(options, folder)
    done.set()
    print("".join(line for line in said if "GPU" in line or "thread" in line or "|" in line))
    order = rows[0][1]["angle"]
    # Auto-refine may go on to a finer grid: only iterations on the first one count.
    kept = [(at, row) for at, row in rows[1:] if row["angle"] == order]
    mean = {c: sum(row[c] for _, row in kept) / len(kept) for c in COLUMNS}
    estep_s = mean["estep_s"] + mean["read_s"]
    begin, end = kept[0][0] - kept[0][1]["total_s"], kept[-1][0]
    busy = [percent for at, percent, _ in samples if begin < at < end]
    million = 1e6 / options.n
    result = {
        "box": options.box, "n": options.n, "order": options.order, "snr": options.snr,
        "precision": options.precision, "half": options.half,
        "workers": options.workers, "where": "cpu" if options.cpu else "gpu",
        "iterations": [row["iteration"] for _, row in kept],
        "current_size": [row["size"] for _, row in kept],
        "significant": round(mean["significant"], 2), "slices": round(mean["slices"], 2),
        "estep_us": round(estep_s * million, 2),
        "estep_s": round(estep_s, 3), "reduce_s": round(mean["reduce_s"], 3),
        "mstep_s": round(mean["mstep_s"], 3), "total_s": round(mean["total_s"], 3),
        "iteration_us": round(mean["total_s"] * million, 2),
        "first_s": rows[0][1]["total_s"],
        "outside_estep_share": round(1 - estep_s / mean["total_s"], 3),
        "gpu_busy_percent": round(sum(busy) / len(busy), 1) if busy else None,
        "gpu_used_mib": max((used for _, _, used in samples), default=None),
        "simulate_s": round(simulate_s, 1),
    }  # fmt: skip
    print(json.dumps(result))
    if options.out:
        with options.out.open("a") as file:
            file.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
