"""Post-processing of large half-maps by RELION and by relion-mpi: seconds and peak memory.

    python benchmarks/end_to_end/postprocess.py OUT [--box 512] [--locres_box 128] [--times 3]
        [--only ours|relion] [--cores 2] [--name NAME]

Makes half-maps of a signal that falls off in a sphere, with noise of their own, and a mask; runs
both programs with the mask and a fitted B-factor, then both for local resolution of a smaller box
of voxels of 2 A (0 for none; a box of 512 takes RELION days), and ours alone for that of the large
box with --large_locres. Medians of wall times, their ratio, seconds of all cores together and the
highest peaks are printed and written to benchmarks/results/postprocess_speed_NAME.json. Both
programs are held to the same cores. Ours is run once before the clock counts, since a fresh
installation compiles its kernels.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from scipy import fft

from relion_mpi.fourier.masks import soft_sphere
from relion_mpi.fourier.sections import scale_by_radius, sections_of
from relion_mpi.io.mrc import write_map

RESULTS = Path(__file__).resolve().parents[1] / "results"
ANGPIX, LOCRES_ANGPIX = 1.0, 2.0
BFACTOR = 300.0
"""Angstrom^2, in voxels of 1 A."""
OURS = [sys.executable, "-m", "relion_mpi.cli.main", "postprocess"]
PROGRAMS = {"ours": OURS, "relion": ["relion_postprocess"]}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--box", type=int, default=512)
    parser.add_argument("--locres_box", type=int, default=128)
    parser.add_argument("--large_locres", action="store_true")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--only", choices=tuple(PROGRAMS))
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--name", default="this_machine")
    return parser.parse_args()


def make_halves(folder, box, angpix):
    """Write half-maps whose FSC is 0.143 at about half of Nyquist, and a mask."""
    if (folder / "mask.mrc").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    mask = soft_sphere(box, 0.3 * box, 0.03 * box, 3).astype(np.float32)
    squared = np.arange(sections_of(box).n_squared) / box**2
    transform = fft.rfftn(rng.standard_normal((box,) * 3, np.float32), workers=-1)
    scale_by_radius(transform, np.exp(-BFACTOR / 4.0 * squared))
    signal = fft.irfftn(transform, s=(box,) * 3, workers=-1, overwrite_x=True) * mask
    level = np.sqrt(6.0) * np.exp(-BFACTOR / 4.0 * 0.25**2)
    for number in (1, 2):
        noise = rng.standard_normal((box,) * 3, np.float32) * np.float32(level)
        write_map(folder / f"run_half{number}_unfil.mrc", signal + noise, angpix)
    write_map(folder / "mask.mrc", mask, angpix)
    return folder


def measured(line, cores):
    """Run a program; return wall and processor seconds, and its peak memory in GiB."""
    start = time.monotonic()
    job = subprocess.Popen(
        line, stdout=subprocess.DEVNULL, preexec_fn=lambda: os.sched_setaffinity(0, cores)
    )
    _, status, usage = os.wait4(job.pid, 0)
    seconds = time.monotonic() - start
    if status != 0:
        raise SystemExit(f"status {status}: {' '.join(line)}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20


def compare(options, folder, words, sides):
    """Time the programs on the same halves; return what each took."""
    cores = set(sorted(os.sched_getaffinity(0))[: options.cores])
    found = {}
    for side in sides:
        half, mask = folder / "run_half1_unfil.mrc", folder / "mask.mrc"
        (folder / side).mkdir(exist_ok=True)
        line = [*PROGRAMS[side], "--i", str(half), "--mask", str(mask)]
        line += ["--o", str(folder / side / "post"), *words]
        runs = [measured(line, cores) for _ in range(options.times)]
        seconds = statistics.median(one[0] for one in runs)
        busy = statistics.median(one[1] for one in runs)
        peak = max(one[2] for one in runs)
        found[side] = {
            "seconds": round(seconds, 2), "core_seconds": round(busy, 2),
            "peak_gib": round(peak, 2), "runs": [round(one[0], 2) for one in runs],
        }  # fmt: skip
        print(f"{folder.name} {' '.join(words)}: {side} {seconds:.1f} s ({busy:.1f} s of all cores "
              f"together), {peak:.2f} GiB")  # fmt: skip
    if len(found) == 2:
        found["ratio"] = round(found["relion"]["seconds"] / found["ours"]["seconds"], 2)
        print(f"  {found['ratio']:.1f} times")
    return found


def main():
    options = arguments()
    sides = [options.only] if options.only else list(PROGRAMS)
    out = options.out.resolve()
    warm = make_halves(out / "box48", 48, ANGPIX)
    for words in (["--auto_bfac"], ["--locres", "--locres_sampling", "10"]):
        measured([*OURS, "--i", str(warm / "run_half1_unfil.mrc"), "--o", str(warm / "p"), *words],
                 os.sched_getaffinity(0))  # fmt: skip
    large = make_halves(out / f"box{options.box}", options.box, ANGPIX)
    result = {
        "machine": platform.processor() or platform.machine(),
        "cores": options.cores, "box": options.box,
        "postprocess": compare(options, large, ["--auto_bfac"], sides),
    }  # fmt: skip
    if options.locres_box:
        small = make_halves(out / f"local{options.locres_box}", options.locres_box, LOCRES_ANGPIX)
        result |= {"locres_box": options.locres_box,
                   "locres": compare(options, small, ["--locres"], sides)}  # fmt: skip
    if options.large_locres:
        result["large_locres"] = compare(options, large, ["--locres"], ["ours"])
    path = RESULTS / f"postprocess_speed_{options.name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
